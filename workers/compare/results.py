"""From what the models say of the test split to who does better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.contracts.expressions import FULL, as_many_at_random, read_set_expression
from app.contracts.params import CompareParams
from app.contracts.slices import LABEL
from models.agreement import mean_intervals
from models.classification import confusion_matrix
from models.comparison import Comparison, Outcome, compare
from workers.compare.learned import learned, warning
from workers.compare.plan import Trained
from workers.compare.slice_losses import LEVEL, told_by_slice
from workers.compare.slicing import Slicing
from workers.measuring import Floats, Measure, Measured

MOST_CONFUSED = 50
_WORDS = {
    Outcome.BETTER: "does better than",
    Outcome.AS_GOOD: "does as well as",
    Outcome.WORSE: "does worse than",
    Outcome.UNCLEAR: "cannot be told from",
}


@dataclass(frozen=True)
class Run:
    """One training, and how well its model does."""

    trained: Trained
    measured: Measured


def compared(
    ended: Sequence[Trained],
    measure: Measure,
    slicings: Sequence[Slicing],
    params: CompareParams,
    on_pair: Callable[[], object],
) -> dict[str, Any]:
    """The part of the job's result that compares: `metric`, `without_a_model`, `subsets`, `comparisons`,
    `slicings` and a `verdict`.

    `on_pair()` is called before each comparison: a hundred slices of 100,000 samples take half a minute.
    """
    runs = [Run(one, measure.of(one.logits)) for one in ended]
    by_subset = {
        text: [one for one in runs if one.trained.training.subset == text] for text in params.subsets
    }
    values = {text: np.stack([one.measured.values for one in some]) for text, some in by_subset.items()}
    found = []
    for pair in _pairs(params.subsets):
        on_pair()
        found.append(_compared(pair, values, measure, slicings, params))
    without = learned(values, measure, params)
    return {
        "metric": measure.name,
        "without_a_model": without,
        "subsets": [_described(text, some, measure) for text, some in by_subset.items()],
        "comparisons": found,
        "slicings": [one.described() for one in slicings if one.by in params.slices],
        "verdict": [*warning(without, measure, len(values)), *(one["verdict"] for one in found)],
    }


def _pairs(subsets: Sequence[str]) -> list[tuple[str, str]]:
    """Each subset with as many at random, and all with `full`."""
    controlled = [(text, as_many_at_random(text)) for text in subsets if as_many_at_random(text) in subsets]
    return controlled + [(text, FULL) for text in subsets if text != FULL]


# -- one subset ----------------------------------------------------------------------------------------------
def _described(text: str, runs: Sequence[Run], measure: Measure) -> dict[str, Any]:
    first = runs[0].trained.training
    described: dict[str, Any] = {
        "subset": text,
        "version": read_set_expression(text).version,
        "samples": len(first.positions),
        "steps": first.steps,
        "runs": [_run(one) for one in runs],
        "metrics": {
            name: _over_seeds([one.measured.metrics[name] for one in runs])
            for name in runs[0].measured.metrics
        },
    }
    classes = len(measure.classes)
    if classes <= MOST_CONFUSED:
        said = (one.trained.logits.argmax(axis=1) for one in runs)
        counts = [confusion_matrix(measure.rows.labels, some, classes) for some in said]
        described["confusion"] = np.sum(counts, axis=0).tolist()
    return described


def _run(one: Run) -> dict[str, Any]:
    trained = one.trained
    told = {"seed": trained.training.seed, "train_loss": trained.train_loss}
    return {**told, "seconds": round(trained.seconds, 2), **one.measured.metrics}


def _over_seeds(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, and Student's interval where there are several; None where a run has no value."""
    known = np.array([value for value in values if value is not None])
    if len(known) < len(values):
        return {"mean": None, "low": None, "high": None}
    if len(known) == 1:
        return {"mean": float(known[0]), "low": None, "high": None}
    means, half = mean_intervals(known[:, None], LEVEL)
    return {
        "mean": float(means[0]),
        "low": float(means[0] - half[0]),
        "high": float(means[0] + half[0]),
    }


# -- two subsets ---------------------------------------------------------------------------------------------
def _compared(
    pair: tuple[str, str],
    values: Mapping[str, Floats],
    measure: Measure,
    slicings: Sequence[Slicing],
    params: CompareParams,
) -> dict[str, Any]:
    system, baseline = (values[text] for text in pair)
    found = compare(system, baseline, margin=params.margin, level=LEVEL, seed=params.seed)
    told: dict[str, Any] = {
        "subset": pair[0],
        "baseline": pair[1],
        "outcome": found.outcome.value,
        "confidence": found.confidence,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "seed_p_value": found.seed_p_value,
        "sample_p_value": found.sample_p_value,
        "win_rate": found.win_rate,
        "verdict": _sentence(pair, found, params),
    }
    slices = told_by_slice(system, baseline, measure.name, slicings, params)
    if not measure.by_query:
        told["labels"] = [_as_label(one) for one in slices if one["by"] == LABEL]
    return told | {"slices": [one for one in slices if one["by"] in params.slices]}


def _as_label(told: Mapping[str, Any]) -> dict[str, Any]:
    """A slice by label, as it was told before there were others."""
    kept = ("count", "accuracy", "difference", "low", "high", "warning")
    return {"label": told["value"]} | {name: told[name] for name in kept}


def _sentence(pair: tuple[str, str], found: Comparison, params: CompareParams) -> str:
    difference, low, high = (f"{100 * value:+.1f}" for value in (found.difference, found.low, found.high))
    within = f" within {100 * params.margin:g} points" if found.outcome is Outcome.AS_GOOD else ""
    sure = "" if found.outcome is Outcome.UNCLEAR else f", {found.confidence:.0%} sure"
    seeds = f"{found.seeds} seeds" if found.seeds > 1 else "one seed, which decides nothing"
    return (
        f"{pair[0]} {_WORDS[found.outcome]} {pair[1]}{within}: {difference} points, "
        f"{LEVEL:.0%} interval {low} to {high} ({seeds}{sure})."
    )
