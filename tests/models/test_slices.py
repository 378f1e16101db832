"""Losses of slices: against counting and plain draws; seen where there are some, and hardly where not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t

from models.slices import excess_losses


def fields(n: int, kinds: tuple[int, ...], rng: np.random.Generator) -> list[np.ndarray]:
    codes = [(rng.integers(kind, size=n), kind) for kind in kinds]
    return [code == value for code, kind in codes for value in range(kind)]


@given(arrays(np.float64, (3, 8), elements=st.floats(-1, 1)), arrays(np.bool_, (4, 8)))
def test_the_excess_is_that_over_the_rest(differences: np.ndarray, inside: np.ndarray) -> None:
    for one, found in zip(inside, excess_losses(differences, list(inside)), strict=True):
        if 2 <= one.sum() <= 6:
            wanted = differences[:, one].mean() - differences[:, ~one].mean()
            assert found.difference == pytest.approx(wanted, abs=1e-12)
            assert found.p_value is not None
            assert 0 <= found.p_value <= 1
        else:
            assert (found.difference, found.p_value) == (None, None)


def test_a_slice_and_its_mirror_are_one_to_pool_and_two_to_test() -> None:
    """Of one field with two values the pool is each one's own: drawn as the formula says, twice for Holm."""
    rng = np.random.default_rng(0)
    differences, inside = rng.normal(0, 0.3, (3, 60)), np.arange(60) < 20
    differences[:, inside] -= 0.2
    first, second = excess_losses(differences, [inside, ~inside])
    parts = differences[:, inside], differences[:, ~inside]
    by_seed = parts[0].mean(axis=1) - parts[1].mean(axis=1)
    width = np.sqrt(sum(part.mean(axis=0).var(ddof=1) / part.shape[1] for part in parts))
    drawn = (
        rng.normal(0, width, 400_000)
        + t.rvs(2, size=400_000, random_state=rng) * by_seed.std(ddof=1) / 3**0.5
    )
    assert first.p_value == pytest.approx(2 * (drawn <= by_seed.mean()).mean(), abs=5e-3)
    assert first.p_value is not None
    assert second.p_value == pytest.approx(1 - first.p_value / 2)


def test_a_field_given_twice_pools_no_more() -> None:
    """Only Holm's factor grows: the other slices are the same ones."""
    rng = np.random.default_rng(1)
    differences, inside = rng.normal(0, 0.3, (3, 60)), np.arange(60) < 20
    once, twice = (excess_losses(differences, [inside] * k)[0].p_value for k in (1, 2))
    assert once is not None
    assert twice == pytest.approx(min(1.0, 2 * once), rel=1e-6)


@pytest.mark.parametrize("spread_of_slices", [0.0, 0.02])
def test_in_most_comparisons_without_a_loss_nothing_is_seen(spread_of_slices: float) -> None:
    """Thirty slices at a time, each with seeds of its own: seen in hardly a comparison."""
    rng, seen, found = np.random.default_rng(2), 0, 0
    for _ in range(25):
        slices = fields(600, (15, 10, 5), rng)
        differences = (
            rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.1, (1, 600)) + rng.normal(0, 0.3, (3, 600))
        )
        for one in slices:
            differences += rng.normal(0, spread_of_slices, (3, 1)) * one
        seen += any((one.p_value or 0) <= 0.05 for one in excess_losses(differences, slices))
        lost = excess_losses(differences - 0.3 * slices[0], slices)
        found += (lost[0].p_value or 0) <= 0.05
    assert seen <= 3
    assert found >= 22


def test_nothing_is_sure_where_nothing_differs_or_of_one_seed() -> None:
    half = np.arange(10) < 5
    assert excess_losses(np.zeros((3, 10)), [half])[0].p_value == pytest.approx(0.5)
    assert excess_losses(np.ones((1, 10)), [half])[0].p_value is None
    assert excess_losses(np.ones((1, 10)), []) == []


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        excess_losses(np.zeros((2, 4)), [np.ones(3, dtype=bool)])
    with pytest.raises(ValueError, match="not finite"):
        excess_losses(np.full((2, 4), np.nan), [np.ones(4, dtype=bool)])
