"""Rank correlation and intervals of repeated runs, against scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr, t

from models.agreement import mean_intervals, rank_correlations

FEW = st.sampled_from([0.0, 1.0, 2.5, 7.0])


@given(arrays(np.float64, (3, 12), elements=FEW))
def test_rank_correlations_are_spearmans_also_with_ties(runs: np.ndarray) -> None:
    if (runs.min(axis=1) == runs.max(axis=1)).any():
        return
    wanted = [spearmanr(runs[a], runs[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(rank_correlations(runs), wanted, atol=1e-12)


def test_a_run_of_one_value_has_no_rank_correlation() -> None:
    assert np.isnan(rank_correlations(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]))).all()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_intervals_are_students(count: int) -> None:
    runs = np.random.default_rng(0).gamma(2.0, size=(count, 5))
    means, half = mean_intervals(runs, 0.9)
    for i in range(5):
        spread = runs[:, i].std(ddof=1) / np.sqrt(count)
        low, high = t.interval(0.9, count - 1, loc=runs[:, i].mean(), scale=spread)
        assert (means[i] - half[i], means[i] + half[i]) == pytest.approx((low, high))


def test_the_interval_holds_the_mean_of_all_seeds_as_often_as_it_says() -> None:
    runs = np.random.default_rng(1).normal(3.0, 0.5, size=(3, 20_000))
    means, half = mean_intervals(runs, 0.95)
    held = (np.abs(means - 3.0) <= half).mean()
    assert held == pytest.approx(0.95, abs=0.01)
