"""How a classifier of grades ranks the items of each query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.ranking import RankingMetrics, ranking_metrics

CUT_OFFS = (5, 10)


def ranked_by_expected_grade(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    grades: Sequence[float] | NDArray[np.float64],
    queries: NDArray[np.int64],
) -> RankingMetrics:
    """Of logits (n, classes): items are ordered by the grade that the model expects, Σ_c p_c · grade_c.

    grades: (classes,) values of the classes. labels: (n,) class indices. queries: (n,) codes.
    """
    values = np.asarray(grades, dtype=np.float64)
    expected = softmax(logits.astype(np.float64), axis=1) @ values
    return ranking_metrics(expected, values[labels], queries, CUT_OFFS)


def ranking_means(ranked: RankingMetrics) -> dict[str, float | None]:
    """`ndcg@5`, `ndcg@10`, `mrr` and `map`; None where no query has a relevant item."""
    means = {f"ndcg@{k}": metric.mean for k, metric in ranked.ndcg.items()}
    return {**means, "mrr": ranked.reciprocal_rank.mean, "map": ranked.average_precision.mean}
