"""Whether the models of a comparison have learned anything: of some that have not, nothing can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from app.contracts.params import CompareParams
from models.comparison import compare
from workers.compare.slice_losses import LEVEL
from workers.measuring import Floats, Measure


def learned(values: Mapping[str, Floats], measure: Measure, params: CompareParams) -> dict[str, Any]:
    """What is reached without a model: `value` by always saying `label`, the most frequent one of the test
    samples, or (`relevance`, label None) in no particular order. And the subsets whose models are not surely
    better.

    values: (seeds, n) of each subset.
    """
    most_frequent = int(np.bincount(measure.rows.labels, minlength=len(measure.classes)).argmax())
    logits = np.zeros((len(measure.rows), len(measure.classes)), dtype=np.float32)
    if not measure.by_query:
        logits[:, most_frequent] = 1.0
    without = measure.of(logits).values
    unlearned = [text for text, some in values.items() if not _better(some, without, params.seed)]
    label = None if measure.by_query else measure.classes[most_frequent]
    return {"label": label, "value": float(without.mean()), "unlearned": unlearned}


def warning(told: Mapping[str, Any], measure: Measure, subsets: int) -> list[str]:
    """A sentence where models have not learned, else none."""
    unlearned = told["unlearned"]
    if not unlearned:
        return []
    by = "results in no particular order" if measure.by_query else f"always saying {told['label']!r}"
    reached = f"{by} ({measure.name} {told['value']:.3f})"
    if len(unlearned) == subsets:
        return [
            f"No model is surely better than {reached}: they have learned too little for the rest to mean "
            "much. Train for longer, or at a higher learning rate."
        ]
    return [f"Not surely better than {reached}, so not to be trusted: {', '.join(unlearned)}."]


def _better(values: Floats, without: Floats, seed: int) -> bool:
    floor = np.tile(without, (len(values), 1))
    return compare(values, floor, margin=0.0, level=LEVEL, seed=seed, sign_flips=False).low > 0
