"""Comparisons against scipy's tests, on simulated runs whose truth is known, and by their verdicts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t, ttest_rel

from models import comparison
from models.comparison import Outcome, compare, paired_t_test, sign_flip_test

ZERO = np.zeros((3, 200))


def runs(
    mean: float, seeds: int, n: int, rng: np.random.Generator, by_seed: float = 0.0, by_sample: float = 0.1
) -> np.ndarray:
    """Differences (seeds, n) around `mean`, with effects of seed and sample of these standard deviations."""
    of_seed, of_sample = rng.normal(0, by_seed, (seeds, 1)), rng.normal(0, by_sample, (1, n))
    return mean + of_seed + of_sample + rng.normal(0, 0.1, (seeds, n))


@pytest.mark.parametrize(
    ("mean", "margin", "outcome"),
    [
        (0.2, 0.01, Outcome.BETTER),
        (-0.2, 0.01, Outcome.WORSE),
        (0.0, 0.1, Outcome.AS_GOOD),
        (0.2, 0.4, Outcome.AS_GOOD),  # surely ahead, by less than matters
        (0.0, 0.01, Outcome.UNCLEAR),
    ],
)
def test_verdicts(mean: float, margin: float, outcome: Outcome) -> None:
    values = runs(mean, 4, 200, np.random.default_rng(0), by_seed=0.01)
    found = compare(values, np.zeros_like(values), margin=margin)
    assert found.outcome is outcome
    assert found.confidence > (0.95 if outcome is not Outcome.UNCLEAR else 0.5)
    assert found.low < found.difference < found.high
    assert (found.seeds, found.samples, found.level) == (4, 200, 0.95)


def test_a_system_is_as_good_as_itself() -> None:
    found = compare(ZERO, ZERO, margin=0.0)
    assert (found.low, found.high, found.seed_p_value, found.sample_p_value) == (0, 0, None, 1)
    assert (found.outcome, found.confidence, found.win_rate) == (Outcome.AS_GOOD, 1, 0.5)


def test_one_seed_decides_nothing() -> None:
    values = runs(0.5, 1, 200, np.random.default_rng(0))
    found = compare(values, np.zeros_like(values), margin=0.01)
    assert found.low > 0
    assert found.outcome is Outcome.UNCLEAR
    assert found.seed_p_value is None
    assert found.sample_p_value is not None
    assert found.sample_p_value < 0.001


@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 99))
def test_swapping_the_systems_mirrors_the_difference(seeds: int, n: int, draw: int) -> None:
    rng = np.random.default_rng(draw)
    a, b = (rng.integers(0, 2, (seeds, n)).astype(np.float64) for _ in range(2))
    there, back = compare(a, b, margin=0.01, resamples=50), compare(b, a, margin=0.01, resamples=50)
    assert there == compare(a, b, margin=0.01, resamples=50)
    assert there.difference == pytest.approx(-back.difference)
    assert there.win_rate == pytest.approx(1 - back.win_rate)
    assert there.seed_p_value == (None if back.seed_p_value is None else pytest.approx(back.seed_p_value))


def test_one_value_a_seed_gives_students_interval() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.1, (5, 1))
    found = compare(values, np.zeros_like(values), margin=0.01, resamples=20_000)
    wanted = t.interval(0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(5))
    assert (found.low, found.high) == pytest.approx(wanted, abs=2e-3)
    assert found.sample_p_value is None


@given(arrays(np.float64, (2, 6), elements=st.floats(-5, 5)))
def test_seeds_are_tested_as_scipy_does(pair: np.ndarray) -> None:
    differences = pair[0] - pair[1]
    found = paired_t_test(differences)
    if found is not None and differences.std() > 1e-6:
        assert found == pytest.approx(ttest_rel(pair[0], pair[1]).pvalue, abs=1e-9)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_samples_are_tested_by_every_pattern_of_signs(values: list[int]) -> None:
    differences = np.array(values, dtype=np.float64)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(values))]
    wanted = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    found = sign_flip_test(differences, 2_000, np.random.default_rng(0))
    assert found == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize(("seeds", "by_seed"), [(2, 0.05), (3, 0.05), (5, 0.0)])
def test_the_interval_holds_the_truth_at_least_as_often_as_it_says(seeds: int, by_seed: float) -> None:
    rng = np.random.default_rng(seeds)
    held = 0
    for _ in range(300):
        values = runs(0.02, seeds, 40, rng, by_seed=by_seed)
        found = compare(values, np.zeros_like(values), margin=0.0, resamples=300)
        held += found.low <= 0.02 <= found.high
    assert held / 300 >= 0.92  # 95 % less what 300 draws and 300 resamples leave open


def test_a_true_difference_is_rarely_missed_and_none_rarely_seen() -> None:
    rng = np.random.default_rng(9)
    seen = {0.0: 0, 0.15: 0}
    for mean in seen:
        for _ in range(100):
            values = runs(mean, 4, 60, rng, by_seed=0.02)
            found = compare(values, np.zeros_like(values), margin=0.0, resamples=400)
            seen[mean] += found.outcome is Outcome.BETTER
    assert seen[0.0] <= 6
    assert seen[0.15] >= 95


def test_a_large_split_is_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = runs(0.01, 3, 100, np.random.default_rng(0))
    whole = compare(values, np.zeros_like(values), margin=0.01, resamples=500)
    monkeypatch.setattr(comparison, "CELLS", 1_000)
    assert compare(values, np.zeros_like(values), margin=0.01, resamples=500) == whole


@pytest.mark.parametrize(
    ("system", "baseline", "options", "message"),
    [
        (ZERO, ZERO[:2], {}, "not paired"),
        (ZERO[0], ZERO[0], {}, "not paired"),
        (ZERO[:1, :1], ZERO[:1, :1], {}, "one value"),
        (ZERO + np.nan, ZERO, {}, "not finite"),
        (ZERO, ZERO, {"margin": -0.1}, "negative"),
        (ZERO, ZERO, {"level": 1.0}, "outside"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    system: np.ndarray, baseline: np.ndarray, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare(system, baseline, **({"margin": 0.01} | options))
