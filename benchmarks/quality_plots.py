"""Draws the figures of docs/benchmarks.md from the results of quality.py.

    python benchmarks/quality_plots.py build/quality/results.jsonl docs/figures

The same results give the same files, to the byte, with the same matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Result = dict[str, Any]
OURS, TUNED, FROZEN, FULL = "#0b6e99", "#c8553d", "#7a7a7a", "#b0b0b0"
STYLE = {
    "svg.hashsalt": "gradsift",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#999999",
    "xtick.color": "#555555",
    "ytick.left": False,
}
NOISE = (
    "news human",
    "clothing one_sided",
    "banking confusable",
    "clothing symmetric",
    "shopping_zh symmetric",
    "banking symmetric",
)
CORE = ("news human", "clothing symmetric", "banking confusable", "banking", "clothing", "shopping_zh")
LOWEST = 12.0
"""Points below full at which a core's axis ends: what lies further is named there."""


@dataclass(frozen=True)
class Row:
    """A line of a panel. methods: the names that results go by; of several, the best mean is drawn."""

    label: str
    colour: str
    methods: tuple[str, ...]


NOISE_ROWS = (
    Row("ours", OURS, ("ours",)),
    Row("ours, told", OURS, ("ours, told",)),
    Row(
        "cleanlab, frozen",
        FROZEN,
        tuple(f"cleanlab C={c} {s}" for c in (1, 10) for s in ("self_confidence", "normalized_margin")),
    ),
    Row(
        "cleanlab, fine-tuned",
        TUNED,
        tuple(f"cleanlab fine-tuned {s}" for s in ("self_confidence", "normalized_margin")),
    ),
    Row("AUM, fine-tuned", TUNED, ("AUM fine-tuned",)),
    Row("EL2N, fine-tuned", TUNED, ("EL2N fine-tuned",)),
    Row("S_i, fine-tuned", TUNED, ("S_i fine-tuned",)),
)
CORE_ROWS = (
    Row("robust", OURS, ("robust",)),
    Row("robust, validation", OURS, ("robust, trusted validation",)),
    Row("random by label", FROZEN, ("random by label",)),
    Row("cleanlab, best by label", FROZEN, ("cleanlab, best by label",)),
    Row("ccs", FROZEN, ("ccs",)),
    Row("ccs, fine-tuned S_i", TUNED, ("ccs (fine-tuned S_i)",)),
    Row("AUM, best by label", TUNED, ("AUM, best by label",)),
    Row("seed, fine-tuned S_i", TUNED, ("seed (fine-tuned S_i)",)),
)


def values(results: Sequence[Result], row: Row, measure: str) -> list[float]:
    """x 100, one for each seed and draw of the row's best method."""
    found = [
        [100 * one[measure] for one in results if one["method"].partition(", draw")[0] == method]
        for method in row.methods
    ]
    return max(found, key=lambda seeds: float(np.mean(seeds)) if seeds else -1.0)


def draw_noise(results: Sequence[Result]) -> Figure:
    figure, panels = _panels(NOISE, NOISE_ROWS)
    for setting, axes in zip(NOISE, panels, strict=True):
        inside = [one for one in results if one["part"] == "noise" and one["setting"] == setting]
        for place, row in enumerate(NOISE_ROWS):
            seeds = values(inside, row, "auroc")
            if seeds:
                _range(axes, place, seeds, row.colour, filled=True)
                axes.annotate(
                    f"{np.mean(seeds):.1f}", (max(seeds), place), (6, 0), va="center", color=row.colour,
                    textcoords="offset points",
                )  # fmt: skip
        axes.margins(x=0.18)
    figure.supxlabel("area under the ROC curve of wrong labels × 100: mean and range over seeds", fontsize=8)
    return figure


def draw_cores(results: Sequence[Result]) -> Figure:
    figure, panels = _panels(CORE, CORE_ROWS)
    for setting, axes in zip(CORE, panels, strict=True):
        inside = [one for one in results if one["part"] == "core" and one["setting"] == setting]
        full = values(inside, Row("", "", ("full",)), "accuracy")
        axes.vlines(float(np.mean(full)), -0.5, len(CORE_ROWS) - 0.5, color=FULL, linewidth=1, zorder=0)
        axes.annotate("all rows", (float(np.mean(full)), -0.75), color=FROZEN, ha="center", fontsize=7)
        end = float(np.mean(full)) - LOWEST
        for place, row in enumerate(CORE_ROWS):
            for fraction, shift in ((0.3, -0.17), (0.5, 0.17)):
                core = [one for one in inside if one["fraction"] == fraction]
                seeds = values(core, row, "accuracy")
                if seeds and np.mean(seeds) > end:
                    _range(axes, place + shift, seeds, row.colour, filled=fraction == 0.5)
                elif seeds:
                    where = f"◂ {np.mean(seeds):.0f} at {fraction:.0%}"
                    axes.annotate(where, (end, place + shift), va="center", color=row.colour, fontsize=7)
        axes.set_xlim(left=end)
    figure.supxlabel(
        "test accuracy × 100 of a probe trained on the core: mean and range over seeds; "
        "○ 30 % of the rows, ● 50 %",
        fontsize=8,
    )
    return figure


def _panels(settings: Sequence[str], rows: Sequence[Row]) -> tuple[Figure, list[Axes]]:
    """A panel a setting, with a line a row; only the panels on the left name the rows."""
    figure = Figure(figsize=(9, 0.42 * len(rows) + 2.6), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).ravel().tolist()
    for setting, axes in zip(settings, panels, strict=True):
        axes.set_title(setting.replace("_", " ") + ("" if " " in setting else ", right labels"))
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -1.0)
        axes.grid(axis="x", color="#eeeeee")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        for label, row in zip(axes.get_yticklabels(), rows, strict=False):  # none but on the left
            label.set_color(row.colour)
    return figure, panels


def _range(axes: Axes, place: float, seeds: Sequence[float], colour: str, *, filled: bool) -> None:
    axes.plot([min(seeds), max(seeds)], [place, place], color=colour, linewidth=1.2, alpha=0.6)
    face = colour if filled else "white"
    axes.plot(float(np.mean(seeds)), place, "o", color=colour, markerfacecolor=face, markersize=4.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="results.jsonl of quality.py")
    parser.add_argument("out", type=Path, help="folder of the figures")
    options = parser.parse_args()
    results = [json.loads(line) for line in options.results.read_text().splitlines()]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("noise-found", draw_noise), ("cores-chosen", draw_cores)):
        with mpl.rc_context(STYLE):
            draw(results).savefig(options.out / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
