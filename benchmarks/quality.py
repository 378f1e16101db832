"""Does the noise estimate find wrong labels, and is a model that learns from the core as good?

    python benchmarks/quality.py --data DIR --models DIR --out build/quality --seeds 3

Methods side by side on the same rows and the same frozen embedding; what learns is a linear probe on it. With
--tuned, models fine-tuned on those rows are asked, too. Each result is a line of OUT/results.jsonl; what is
there already is not computed again, so it can be interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from quality_data import Setting, load_setting, parser_of
from quality_methods import accuracy, core_methods, noise_methods
from quality_tuned import FineTuned
from sklearn.metrics import average_precision_score, roc_auc_score

NOISE = [
    ("news", "human"),
    ("banking", "confusable"),
    ("banking", "symmetric"),
    ("clothing", "symmetric"),
    ("clothing", "one_sided"),
    ("shopping_zh", "symmetric"),
    ("news", "clean"),
    ("banking", "clean"),
    ("clothing", "clean"),
    ("shopping_zh", "clean"),
    ("home_depot", "clean"),
]
CORE = [
    ("news", "human"),
    ("banking", "clean"),
    ("banking", "confusable"),
    ("clothing", "clean"),
    ("clothing", "symmetric"),
    ("shopping_zh", "clean"),
    ("home_depot", "clean"),
]
FRACTIONS = (0.3, 0.5)
Result = dict[str, Any]


class Results:
    """Lines of a file, each by what it is the result of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.all: list[Result] = [json.loads(line) for line in lines]

    def has(self, **which: Any) -> bool:
        return any(which.items() <= result.items() for result in self.all)

    def add(self, result: Result) -> None:
        self.all.append(result)
        with self._path.open("a") as file:
            file.write(json.dumps(result) + "\n")


def measure_noise(setting: Setting, seed: int, tuned: FineTuned | None, results: Results) -> None:
    for method, find in noise_methods(setting, seed, tuned):
        which = {"part": "noise", "setting": setting.name, "seed": seed, "method": method}
        if results.has(**which):
            continue
        found = find()
        wrong = setting.wrong[found.judged]
        suspicion = found.suspicion[found.judged]
        measured: Result = {"noise": float(wrong.mean())}
        if wrong.any():
            worst = np.argsort(-suspicion, kind="stable")[: wrong.sum()]
            measured["auroc"] = float(roc_auc_score(wrong, suspicion))
            measured["ap"] = float(average_precision_score(wrong, suspicion))
            measured["precision"] = float(wrong[worst].mean())
        if found.probability is not None:
            stated = found.probability[found.judged]
            called = stated >= 0.5
            measured["called"] = float(called.mean())
            if called.any():
                measured["stated"] = float(stated[called].mean())
                measured["right"] = float(wrong[called].mean())
        results.add(which | measured)


def measure_core(setting: Setting, seed: int, tuned: FineTuned | None, results: Results) -> None:
    for fraction in FRACTIONS:
        which = {"part": "core", "setting": setting.name, "seed": seed, "fraction": fraction}
        for method, choose in core_methods(setting, fraction, seed, tuned):
            if results.has(**which, method=method):
                continue
            core = choose()
            measured = {"accuracy": accuracy(setting, core), "noise": float(setting.wrong[core].mean())}
            results.add(which | {"method": method} | measured)


# -- tables --------------------------------------------------------------------------------------------------
def print_noise(results: list[Result]) -> None:
    for setting, rows in _by(results, "setting").items():
        print(f"\n{setting}: area under ROC / average precision / precision at the true count, x 100")
        for method, seeds in _by(rows, "method").items():
            columns = [_mean(seeds, name) for name in ("auroc", "ap", "precision")]
            called = ""
            if "called" in seeds[0]:
                called = f"   called {_mean(seeds, 'called'):>5} % of all"
                called += f", stated {_mean(seeds, 'stated')} right {_mean(seeds, 'right')}"
            print(f"  {method:<40}{' / '.join(columns)}{called}")


def print_core(results: list[Result]) -> None:
    for (setting, fraction), rows in _by(results, "setting", "fraction").items():
        print(f"\n{setting}, core of {fraction:.0%}: test accuracy x 100 (least-most), wrong labels in it")
        for method, found in _by(rows, "method").items():
            values = [100 * one["accuracy"] for one in found]
            noise = 100 * float(np.mean([one["noise"] for one in found]))
            print(
                f"  {method:<40}{np.mean(values):5.1f} ({min(values):.1f}-{max(values):.1f})  {noise:4.1f} %"
            )


def _by(results: list[Result], *names: str) -> dict[Any, list[Result]]:
    """Draws of random are one method."""
    found: dict[Any, list[Result]] = defaultdict(list)
    for result in results:
        key = tuple(
            str(result[name]).partition(", draw")[0] if name == "method" else result[name] for name in names
        )
        found[key if len(key) > 1 else key[0]].append(result)
    return found


def _mean(results: list[Result], name: str) -> str:
    values = [100 * result[name] for result in results if name in result]
    return f"{np.mean(values):.1f}" if values else "-"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--parts", nargs="+", choices=["noise", "core"], default=["noise", "core"])
    parser.add_argument("--tuned", action="store_true", help="fine-tuned models, too: minutes a setting")
    options = parser.parse_args()
    results = Results(options.out / "results.jsonl")
    for part, source, noise, seed in _asked(options):
        setting = load_setting(source, noise, seed, options.data, options.models, options.out)
        tuned = FineTuned(setting, seed, options.models, options.out) if options.tuned else None
        (measure_noise if part == "noise" else measure_core)(setting, seed, tuned, results)
        print(f"{part}: {setting.name}, seed {seed}", flush=True)
    print_noise([one for one in results.all if one["part"] == "noise"])
    print_core([one for one in results.all if one["part"] == "core"])


def _asked(options: argparse.Namespace) -> Iterator[tuple[str, str, str, int]]:
    for seed in range(options.seeds):
        for part, settings in (("noise", NOISE), ("core", CORE)):
            for source, noise in settings:
                if part in options.parts and source in (options.sources or [source]):
                    yield part, source, noise, seed


if __name__ == "__main__":
    main()
