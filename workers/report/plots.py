"""Plots as SVG text, to be put into a page. The same data gives the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

SETS = {"core": "#0b6e6e", "edge": "#d99a2b", "noise": "#b3363a"}
PLAIN, CONTROL, INK, GRID = "#0b6e6e", "#8a8f98", "#24292f", "#e5e7eb"
MOST_POINTS = 3_000
"""Drawn of a scatter plot, the same ones each time: more would hide one another and swell the page."""
Floats = NDArray[np.float64]


@contextmanager
def _axes(width: float, height: float, drawn: list[str]) -> Iterator[Axes]:
    """One plot; its SVG is in `drawn` afterwards.

    Texts stay texts: whoever looks has fonts for scripts that this machine has none for.
    """
    import matplotlib as mpl  # a worker starts without it
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": "gradsift",
        "svg.fonttype": "none",
        "text.parse_math": False,  # a label may hold a dollar sign
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "axes.edgecolor": CONTROL,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        yield axes
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    drawn.append(text[text.index("<svg") :])


def learning_curve(points: Sequence[Mapping[str, Any]], metric: str, floor: float) -> str:
    """points: `name`, `samples`, `mean`, `low`, `high` (None without an interval), `random`: a control.
    floor: what is reached without a model."""
    drawn: list[str] = []
    with _axes(6.4, 3.8, drawn) as axes:
        axes.axhline(floor, color=CONTROL, linewidth=1, linestyle=":")
        for random, color, label in ((False, PLAIN, "sets"), (True, CONTROL, "as many at random")):
            some = sorted((p for p in points if p["random"] is random), key=lambda p: p["samples"])
            if not some:
                continue
            x, y = [p["samples"] for p in some], np.array([p["mean"] for p in some])
            known = all(p["low"] is not None for p in some)
            reach = (
                np.array([[p["mean"] - p["low"], p["high"] - p["mean"]] for p in some]).T if known else None
            )
            axes.errorbar(x, y, yerr=reach, color=color, marker="o", capsize=3, linewidth=1.6, label=label)
            if not random:
                for p in some:
                    axes.annotate(
                        p["name"],
                        (p["samples"], p["mean"]),
                        (-6, 5),
                        textcoords="offset points",
                        ha="right",
                        color=INK,
                    )
        axes.set_xlabel("training samples")
        axes.set_ylabel(metric)
        axes.margins(x=0.12, y=0.15)
        axes.legend(frameon=False, loc="lower right")
    return drawn[0]


def differences(comparisons: Sequence[Mapping[str, Any]], margin: float) -> str:
    """comparisons: `subset`, `baseline`, `difference`, `low`, `high`, in shares; drawn in points."""
    drawn: list[str] = []
    rows = list(comparisons)[::-1]
    with _axes(6.4, 0.9 + 0.42 * len(rows), drawn) as axes:
        axes.axvspan(-100 * margin, 100 * margin, color=GRID, zorder=0)
        axes.axvline(0, color=CONTROL, linewidth=1)
        for place, one in enumerate(rows):
            low, middle, high = (100 * one[name] for name in ("low", "difference", "high"))
            color = PLAIN if low > 0 else SETS["noise"] if high < 0 else INK
            axes.plot([low, high], [place, place], color=color, linewidth=2)
            axes.plot(middle, place, "o", color=color)
        axes.set_yticks(range(len(rows)), [f"{one['subset']} − {one['baseline']}" for one in rows])
        axes.set_xlabel("difference in points, 95 % interval; grey: too small to matter")
        axes.set_ylim(-0.6, len(rows) - 0.4)
    return drawn[0]


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """Rows are labels, columns what the model says: shares of the row."""
    drawn: list[str] = []
    counts = np.array(matrix, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.8 + 0.42 * len(labels)
    with _axes(size + 1.4, size, drawn) as axes:
        axes.grid(visible=False)
        axes.pcolormesh(shares, cmap="GnBu", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=45, ha="right")
        axes.set_yticks(np.arange(len(labels)) + 0.5, labels)
        axes.set_xlabel("said")
        axes.set_ylabel("label")
        if len(labels) <= 12:
            for row, column in np.ndindex(shares.shape):
                color = "white" if shares[row, column] > 0.6 else INK
                said = f"{shares[row, column]:.0%}"
                axes.text(column + 0.5, row + 0.5, said, ha="center", va="center", color=color)
    return drawn[0]


def histogram_by_set(importance: Floats, sets: Sequence[str]) -> str:
    """importance (n,) and the name of each sample's set."""
    drawn: list[str] = []
    names = np.array(sets)
    with _axes(6.4, 3.4, drawn) as axes:
        edges = np.histogram_bin_edges(importance, bins=40)
        below = np.zeros(len(edges) - 1)
        for name, color in SETS.items():
            if (names == name).any():
                above = below + np.histogram(importance[names == name], edges)[0]
                axes.stairs(above, edges, baseline=below, fill=True, color=color, label=name)
                below = above
        axes.set_xlabel("importance (mean gradient norm)")
        axes.set_ylabel("samples")
        axes.legend(frameon=False)
    return drawn[0]


def data_map(confidence: Floats, variability: Floats, sets: Sequence[str]) -> str:
    """Swayamdipta et al. 2020: (n,) mean and standard deviation of p_label over the visits."""
    drawn: list[str] = []
    names = np.array(sets)
    shown = np.sort(np.random.default_rng(0).permutation(len(names))[:MOST_POINTS])
    with _axes(6.4, 4.2, drawn) as axes:
        for name, color in SETS.items():
            mine = shown[names[shown] == name]
            if len(mine):
                axes.scatter(
                    variability[mine],
                    confidence[mine],
                    s=9,
                    color=color,
                    alpha=0.55,
                    linewidths=0,
                    label=name,
                )
        axes.set_xlabel("variability (standard deviation of p over the visits)")
        axes.set_ylabel("confidence (mean p of the label)")
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, loc="lower right")
    return drawn[0]


def training_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Of each run: epochs with `epoch`, `train_loss` and `validation` (or None)."""
    drawn: list[str] = []
    with _axes(6.4, 3.2, drawn) as axes:
        for number, epochs in enumerate(runs.values()):
            x = [one["epoch"] for one in epochs]
            first = number == 0
            axes.plot(
                x, [one["train_loss"] for one in epochs], "o-", color=PLAIN, label="train" if first else None
            )
            if all(one["validation"] is not None for one in epochs):
                losses = [one["validation"]["loss"] for one in epochs]
                axes.plot(x, losses, "s--", color=SETS["edge"], label="validation" if first else None)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
    return drawn[0]


def loss_by_step(points: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]]) -> str:
    """points: `step`, `loss`. epochs: `step` of their ends, and `validation_loss` (or None)."""
    drawn: list[str] = []
    with _axes(6.4, 3.2, drawn) as axes:
        few = ".-" if len(points) <= 60 else "-"
        axes.plot(
            [one["step"] for one in points], [one["loss"] for one in points], few, color=PLAIN, label="train"
        )
        losses = [one["validation_loss"] for one in epochs]
        if None not in losses:
            axes.plot([one["step"] for one in epochs], losses, "s--", color=SETS["edge"], label="validation")
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
    return drawn[0]


def rounds_curve(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Of a grow job: `trained_on` and, of `validation` and `control`, the accuracy."""
    drawn: list[str] = []
    with _axes(6.4, 3.4, drawn) as axes:
        x = [one["trained_on"] for one in rounds]
        for name, color, label in (("validation", PLAIN, "core"), ("control", CONTROL, "as many at random")):
            axes.plot(x, [one[name]["accuracy"] for one in rounds], "o-", color=color, label=label)
        axes.set_xlabel("training samples")
        axes.set_ylabel("validation accuracy")
        axes.legend(frameon=False, loc="lower right")
    return drawn[0]
