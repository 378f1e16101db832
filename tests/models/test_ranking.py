"""Ranking metrics against trec_eval where no scores tie, and against all orders of the tied where they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.ranking import Gain, RankingMetrics, ranking_metrics

Row = tuple[int, float, float]  # group, grade, score

FEW = st.sampled_from([-1.5, 0.0, 0.25, 3.0])
ANY = st.floats(-1e3, 1e3, width=32)


def rows_of(scores: st.SearchStrategy[float], most: int) -> st.SearchStrategy[list[Row]]:
    """Groups of any size from 1, codes with gaps between them, some of one grade or with nothing relevant."""
    group = st.lists(st.tuples(st.integers(0, 3), scores), min_size=1, max_size=most)
    groups = st.dictionaries(st.integers(-3, 40), group, min_size=1, max_size=4)
    return groups.map(lambda named: [(q, g, s) for q, items in named.items() for g, s in items])


def measured(rows: Sequence[Row], **options: Any) -> RankingMetrics:
    groups, grades, scores = (np.array([row[i] for row in rows]) for i in range(3))
    return ranking_metrics(scores, grades, groups, (1, 3, 10), **options)


def values_by_name(metrics: RankingMetrics) -> dict[str, list[float]]:
    named = {f"ndcg_{k}": metric for k, metric in metrics.ndcg.items()}
    named |= {"recip_rank": metrics.reciprocal_rank, "map": metrics.average_precision}
    return {name: list(metric.values) for name, metric in named.items()}


def ndcg_of(grades: Sequence[float], k: int, gain: Gain) -> float:
    gains = [2.0**g - 1 if gain == "exponential" else float(g) for g in grades]
    best = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(gains, reverse=True)[:k]))
    return sum(g / math.log2(i + 2) for i, g in enumerate(gains[:k])) / best if best else math.nan


def of_one_order(grades: Sequence[float], gain: Gain, level: float) -> dict[str, float]:
    ranks = [i + 1 for i, grade in enumerate(grades) if grade >= level]
    precisions = [(found + 1) / rank for found, rank in enumerate(ranks)]
    return {f"ndcg_{k}": ndcg_of(grades, k, gain) for k in (1, 3, 10)} | {
        "recip_rank": 1 / ranks[0] if ranks else math.nan,
        "map": sum(precisions) / len(ranks) if ranks else math.nan,
    }


def over_all_orders(items: Sequence[Row], gain: Gain, level: float) -> dict[str, float]:
    """The slow twin: the mean over every order of the items that their scores allow."""
    allowed = [p for p in permutations(items) if all(a[2] >= b[2] for a, b in pairwise(p))]
    each = [of_one_order([grade for _, grade, _ in order], gain, level) for order in allowed]
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


@given(rows_of(FEW, 6), st.sampled_from(["linear", "exponential"]), st.sampled_from([1.0, 2.0]))
def test_ties_are_the_mean_over_all_their_orders(rows: list[Row], gain: Gain, level: float) -> None:
    metrics = measured(rows, gain=gain, relevance_level=level)
    found = values_by_name(metrics)
    for i, query in enumerate(metrics.queries):
        wanted = over_all_orders([row for row in rows if row[0] == query], gain, level)
        assert {name: values[i] for name, values in found.items()} == pytest.approx(
            wanted, abs=1e-12, nan_ok=True
        )


@given(rows_of(ANY, 25), st.sampled_from([1, 2]))
@settings(max_examples=60)
def test_without_ties_it_is_trec_eval(rows: list[Row], level: int) -> None:
    trec_eval = pytest.importorskip("pytrec_eval")
    assume(len({(q, s) for q, _, s in rows}) == len(rows))
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for i, (query, grade, score) in enumerate(rows):
        qrels.setdefault(str(query), {})[str(i)] = int(grade)
        run.setdefault(str(query), {})[str(i)] = score
    evaluator = trec_eval.RelevanceEvaluator(
        qrels, {"map", "recip_rank", "ndcg_cut.1,3,10"}, relevance_level=level
    )
    wanted = evaluator.evaluate(run)
    metrics = measured(rows, relevance_level=level)
    for name, values in values_by_name(metrics).items():
        theirs = [wanted[str(q)][name.replace("ndcg_", "ndcg_cut_")] for q in metrics.queries]
        assert np.nan_to_num(values, nan=0.0) == pytest.approx(theirs, abs=1e-6)


@given(rows_of(FEW, 12), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_the_items_has_no_part_in_it(rows: list[Row], random: Any) -> None:
    tenths = [(query, grade / 10, score) for query, grade, score in rows]  # whose sums round
    shuffled = random.sample(tenths, len(rows))
    first, second = (values_by_name(measured(some, relevance_level=0.2)) for some in (tenths, shuffled))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_what_is_left_out_of_the_mean_and_what_stays() -> None:
    rows = [(0, 0, 1.0), (0, 0, 2.0)]  # nothing to find
    rows += [(1, 0, 5.0)]  # nothing, and one item
    rows += [(2, 2, 5.0)]  # one item
    rows += [(3, 1, 1.0), (3, 1, 2.0)]  # one grade
    rows += [(4, 0, 9.0), (4, 1, 8.0)]
    metrics = measured(rows)
    assert list(metrics.queries) == [0, 1, 2, 3, 4]
    assert metrics.single_grade == 4
    for metric, last in ((metrics.reciprocal_rank, 0.5), (metrics.ndcg[3], 1 / math.log2(3))):
        np.testing.assert_allclose(metric.values, [np.nan, np.nan, 1, 1, last])
        assert metric.mean == pytest.approx((2 + last) / 3)
        assert (metric.evaluated, metric.left_out) == (3, 2)


def test_where_nothing_can_be_found_there_is_no_mean() -> None:
    metrics = measured([(0, 0, 1.0), (0, 0, 2.0)])
    assert (metrics.average_precision.mean, metrics.ndcg[10].mean) == (None, None)
    assert metrics.average_precision.evaluated == 0


def test_a_level_above_the_gains_leaves_a_query_to_ndcg_alone() -> None:
    metrics = measured([(0, 1, 1.0), (0, 0, 2.0)], relevance_level=2)
    assert metrics.reciprocal_rank.evaluated == 0
    assert metrics.ndcg[3].evaluated == 1


@pytest.mark.parametrize(
    ("scores", "grades", "groups", "options", "message"),
    [
        ([], [], [], {}, "no items"),
        ([1.0], [1, 2], [0], {}, "1 scores, 2 grades and 1 groups"),
        ([np.nan], [1], [0], {}, "not finite"),
        ([1.0], [-1], [0], {}, "negative"),
        ([1.0], [1], [0], {"ks": (5, 0)}, "must be at least 1"),
        ([1.0], [1], [0], {"relevance_level": 0.0}, "above 0"),
        ([1.0], [2000], [0], {"gain": "exponential"}, "2\\^2000 is no gain"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    scores: list[float], grades: list[int], groups: list[int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_metrics(np.array(scores), np.array(grades), np.array(groups, dtype=np.int64), **options)
