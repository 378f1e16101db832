"""How well scores rank the items of each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.metrics import ndcg_score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Gain = Literal["linear", "exponential"]

HIGHEST_EXPONENT = 100


@dataclass(frozen=True)
class QueryMetric:
    """values: (queries,), 0 to 1, NaN where the query has nothing to find. mean: over the others, None where
    there are none. evaluated: how many the mean is over."""

    values: Floats
    mean: float | None
    evaluated: int

    @property
    def left_out(self) -> int:
        return len(self.values) - self.evaluated


@dataclass(frozen=True)
class RankingMetrics:
    """queries: (queries,) the distinct group codes, ascending; values of every metric are in this order.

    ndcg: by cut-off k. reciprocal_rank, average_precision: their means are MRR and MAP. single_grade: queries
    whose items all have one grade, a query of one item included. Every order is right there: such a query
    scores 1, or is left out where that grade is irrelevant.
    """

    queries: Ints
    ndcg: dict[int, QueryMetric]
    reciprocal_rank: QueryMetric
    average_precision: QueryMetric
    single_grade: int


@dataclass(frozen=True)
class _Ranked:
    """Items by query, then from the highest score; queries (queries,), first item and size of each."""

    scores: Floats
    grades: Floats
    queries: Ints
    starts: Ints
    sizes: Ints


def ranking_metrics(
    scores: NDArray[np.floating],
    grades: NDArray[np.number],
    groups: Ints,
    ks: Sequence[int] = (5, 10),
    *,
    gain: Gain = "linear",
    relevance_level: float = 1.0,
) -> RankingMetrics:
    """NDCG@k, reciprocal rank and average precision of each query: scores (n,), grades (n,) ≥ 0, groups (n,).

    For the items of a query from the highest score, with grade g_i at rank i and R relevant ones among them:

        NDCG@k = DCG@k ÷ its highest possible value,  DCG@k = Σ_{i ≤ k} gain(g_i) ÷ log₂(i + 1)
        RR     = 1 ÷ rank of the first relevant item
        AP     = (1 ÷ R) Σ_{i relevant} (relevant items up to rank i) ÷ i

    (Järvelin and Kekäläinen 2002; Voorhees 1999; Buckley and Voorhees 2000.) gain: "linear" is g, as in
    trec_eval; "exponential" is 2^g − 1 (Burges et al. 2005). An item is relevant from `relevance_level` on:
    1 is trec_eval's own, and right where grade 0 means irrelevant. Where the lowest grade is 1, subtract it
    first, or every item counts as relevant.

    Tied scores: each metric is its average over all orders of the tied items (McSherry and Najork 2008), so
    the order of the input has no part in it. trec_eval orders ties by document name instead; without ties the
    values are trec_eval's.

    A query without a relevant item (for NDCG: without a gain) has nothing to find and is left out of the
    mean, as test collections leave out such topics; trec_eval itself counts 0 for it, which makes its mean
    ours · evaluated ÷ queries. Queries of one grade or one item stay, as in trec_eval. Grades alone decide
    what is left out, so the values of several systems stay paired.

    Raises ValueError for no items, arrays of unequal length, a score or grade that is not finite, a negative
    grade or one above 100 whose gain is to be exponential, a k < 1 and a level ≤ 0.
    """
    ranked = _rank(scores, grades, groups)
    if min(ks, default=1) < 1 or relevance_level <= 0:
        raise ValueError(f"cut-offs {tuple(ks)} must be at least 1, the level {relevance_level} above 0")
    if gain == "exponential" and ranked.grades.max() > HIGHEST_EXPONENT:
        raise ValueError(f"2^{ranked.grades.max():g} is no gain: use linear ones, or grades that start at 0")
    gains = ranked.grades if gain == "linear" else np.exp2(ranked.grades) - 1.0
    reciprocal_rank, average_precision = _of_relevant(ranked, ranked.grades >= relevance_level)
    lowest, highest = (f.reduceat(ranked.grades, ranked.starts) for f in (np.minimum, np.maximum))
    return RankingMetrics(
        ranked.queries,
        {k: _metric(_ndcg(ranked, gains, k)) for k in ks},
        _metric(reciprocal_rank),
        _metric(average_precision),
        int((lowest == highest).sum()),
    )


def _rank(scores: NDArray[np.floating], grades: NDArray[np.number], groups: Ints) -> _Ranked:
    if not len(scores) == len(grades) == len(groups):
        raise ValueError(f"{len(scores)} scores, {len(grades)} grades and {len(groups)} groups")
    if len(scores) == 0:
        raise ValueError("metrics of no items are undefined")
    if not (np.isfinite(scores).all() and np.isfinite(grades).all()):
        raise ValueError("a score or a grade is not finite")
    if grades.min() < 0:
        raise ValueError("grades must not be negative")
    # The grade as the last key: sums are then added up in the same order however the input was ordered.
    order = np.lexsort((grades, -scores, groups))
    queries, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    ordered, graded = scores[order].astype(np.float64), grades[order].astype(np.float64)
    return _Ranked(ordered, graded, queries, starts, sizes)


def _metric(values: Floats) -> QueryMetric:
    known = values[~np.isnan(values)]
    return QueryMetric(values, float(known.mean()) if len(known) else None, len(known))


def _ndcg(ranked: _Ranked, gains: Floats, k: int) -> Floats:
    """NDCG@k of each query, ties averaged by scikit-learn."""
    values = np.full(len(ranked.queries), np.nan)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for i, (start, size) in enumerate(zip(ranked.starts, ranked.sizes, strict=True)):
            items = slice(start, start + size)
            if size == 1:  # refused there; the only order is the best one
                values[i] = 1.0 if gains[start] > 0 else np.nan
            elif gains[items].any():
                values[i] = ndcg_score(gains[None, items], ranked.scores[None, items], k=k)
    return values


def _of_relevant(ranked: _Ranked, relevant: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Reciprocal rank and average precision of each query, averaged over all orders of tied items.

    Of m items tied after rank s, r are relevant, and `before` of the s. The j-th place holds a relevant one
    with probability r/m, and then (j − 1)(r − 1)/(m − 1) of the places before it in the tie do on average.
    """
    count = len(ranked.queries)
    query = np.repeat(np.arange(count), ranked.sizes)
    starts_tie = np.ones(len(relevant), dtype=bool)
    starts_tie[1:] = (np.diff(ranked.scores) != 0) | (np.diff(query) != 0)
    ties, tie = np.flatnonzero(starts_tie), np.cumsum(starts_tie) - 1
    owner = query[ties]
    m = np.diff(ties, append=len(relevant))
    r = np.add.reduceat(relevant.astype(np.float64), ties)
    total = np.bincount(query, relevant, count)
    before = np.cumsum(r) - r - (np.cumsum(total) - total)[owner]
    s = ties - ranked.starts[owner]

    place = np.arange(len(relevant)) - ties[tie]
    among = place * ((r - 1) / np.maximum(m - 1, 1))[tie]
    precision = (before[tie] + 1 + among) / (s[tie] + place + 1)
    found = np.bincount(query, (r / m)[tie] * precision, count)
    average_precision = np.divide(found, total, out=np.full(count, np.nan), where=total > 0)
    reciprocal_rank = np.full(count, np.nan)
    for t in np.flatnonzero((r > 0) & (before == 0)):
        reciprocal_rank[owner[t]] = _first_of_tie(int(s[t]), int(m[t]), int(r[t]))
    return reciprocal_rank, average_precision


def _first_of_tie(above: int, size: int, relevant: int) -> float:
    """Mean of 1 ÷ rank of the first relevant item over the orders of a tie that starts after rank `above`."""
    places = np.arange(size - relevant + 1)
    here = relevant / (size - places)
    nowhere_before = np.cumprod(np.concatenate(([1.0], 1.0 - here[:-1])))
    return float((here * nowhere_before / (above + places + 1)).sum())
