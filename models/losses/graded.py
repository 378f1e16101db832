"""One of the losses for graded relevance, by its name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batching import query_batches
from models.errors import ModelError
from models.losses.names import BY_QUERY, CROSS_ENTROPY, LOSSES
from models.losses.pointwise import (
    cross_entropy,
    expected_grade,
    log_odds_of_grade,
    ranked_ignorance,
    squared_error,
)
from models.losses.within_query import listwise_top_one, pairwise_logistic

ANCHOR = 0.1
"""Weight of the cross-entropy beside losses that leave the classes' probabilities open: an expected grade of
1 may be half 0 and half 2, and the order within a query says nothing of which grade an item has, nor of items
without a query. `ordinal`, a proper scoring rule, needs none."""
_AT_ONCE = 1024
Ints = NDArray[np.int64]


class GradedLoss:
    """Of a classifier whose class c stands for the value `grades[c]`.

    `listwise` scores an item by its expected grade: ListNet is lowest where that is the grade itself.
    `pairwise` always asks for more distance, so it scores by the expected grade's log-odds, without bounds.
    Raises ModelError `loss_needs_grades` unless there are at least two grades, all different.
    """

    def __init__(self, name: str, grades: Sequence[float]) -> None:
        if name not in LOSSES or name == CROSS_ENTROPY:
            raise ValueError(f"{name!r} is no loss of grades")
        if len(grades) < 2 or len(set(grades)) < len(grades):
            raise ModelError(
                "loss_needs_grades",
                f"The loss {name} needs classes that are different numbers, not {list(grades)}.",
                "Use cross_entropy, or a dataset of task relevance.",
            )
        self.name = name
        self.grades = tuple(float(grade) for grade in grades)

    def __call__(self, logits: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Losses (n,) of logits (n, classes), labels (n,) and codes of the queries (n,)."""
        grades = torch.tensor(self.grades, dtype=logits.dtype, device=logits.device)
        if self.name == "ordinal":
            return ranked_ignorance(logits, labels, grades)
        anchor = ANCHOR * cross_entropy(logits, labels)
        if self.name == "mse":
            return squared_error(logits, labels, grades) + anchor
        if self.name == "pairwise":
            return pairwise_logistic(log_odds_of_grade(logits, grades), grades[labels], queries) + anchor
        return listwise_top_one(expected_grade(logits, grades), grades[labels], queries) + anchor

    def mean(self, logits: NDArray[np.float32], labels: Ints, queries: Ints) -> float:
        """Over a split of n items, in float64; queries of over 1024 items in parts."""
        total = 0.0
        for batch in query_batches(queries, _AT_ONCE, seed=0, epoch=0):
            parts = (
                torch.from_numpy(values[batch]) for values in (logits.astype(np.float64), labels, queries)
            )
            total += float(self(*parts).sum())
        return total / len(labels)


def require_order(name: str, labels: Ints, queries: Ints | None) -> None:
    """Raises ModelError `nothing_to_rank` where a loss of the order within queries has none to learn."""
    if name not in BY_QUERY:
        return
    if queries is not None:
        kinds = np.unique(np.stack([queries, labels]), axis=1)
        if len(np.unique(kinds[0])) < kinds.shape[1]:
            return
    raise ModelError(
        "nothing_to_rank",
        f"The loss {name} learns from samples of one query with different grades, and there are none.",
        "Send samples with their query as `group`, train on more of them, or choose another loss.",
    )
