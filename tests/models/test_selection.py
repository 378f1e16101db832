"""policy=seed against the founding text, whatever the order of the input."""

from __future__ import annotations

import random
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.selection import REASON_CODES, SET_CODES, Assignment, Evidence, SeedPolicy

hundredths = st.integers(0, 100)
scores = st.dictionaries(
    st.text(min_size=1, max_size=6), st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1e6), max_size=40
)


def assign(policy: SeedPolicy, importance: np.ndarray, ids: list[str]) -> Assignment:
    return policy.assign(Evidence(ids, np.zeros(len(ids), dtype=np.int64), 2, importance))


def half_up(fraction: float, count: int) -> int:
    return int((Decimal(str(fraction)) * count).quantize(Decimal(1), rounding=ROUND_HALF_UP))


@given(scores, hundredths, hundredths, st.randoms(use_true_random=False))
def test_sets_are_the_founding_documents(
    scored: dict[str, float], a: int, b: int, shuffler: random.Random
) -> None:
    core_fraction, noise_fraction = a / 100, min(b, 100 - a) / 100
    expected = sorted(scored, key=lambda name: (-scored[name], name))
    core = half_up(core_fraction, len(scored))
    noise = min(half_up(noise_fraction, len(scored)), len(scored) - core)
    ids = list(scored)
    shuffler.shuffle(ids)
    answer = assign(SeedPolicy(core_fraction, noise_fraction), np.array([scored[i] for i in ids]), ids)
    assert [ids[position] for position in answer.order] == expected
    names = dict(zip(ids, answer.set_names(), strict=True))
    edge = len(scored) - core - noise
    assert [names[name] for name in expected] == ["core"] * core + ["edge"] * edge + ["noise"] * noise
    reason_of = {"core": "important", "edge": "uncertain", "noise": "easy"}
    assert answer.reason_names() == [reason_of[name] for name in answer.set_names()]
    assert answer.set_sizes() == {"unscored": 0, "core": core, "edge": edge, "noise": noise}


def test_the_founding_documents_worked_case() -> None:
    answer = assign(SeedPolicy(0.67, 0.33), np.array([0.9, 0.5, 0.8]), ["x1", "x2", "x3"])
    assert answer.set_names() == ["core", "noise", "core"]


@pytest.mark.parametrize(
    ("fraction", "count", "core"),
    [(0.29, 50, 15), (0.1, 5, 1), (0.1, 4, 0), (0.35, 10, 4), (0.0, 9, 0), (1.0, 9, 9), (1e-9, 9, 0)],
)
def test_halves_round_up_on_the_decimal_fraction(fraction: float, count: int, core: int) -> None:
    ids = [f"s{i}" for i in range(count)]
    found = assign(SeedPolicy(fraction, 0.0), np.arange(count, dtype=np.float64), ids)
    assert found.set_sizes()["core"] == core


def test_where_both_round_up_core_wins() -> None:
    sizes = assign(SeedPolicy(0.5, 0.5), np.array([1.0, 2.0, 3.0]), ["a", "b", "c"]).set_sizes()
    assert (sizes["core"], sizes["edge"], sizes["noise"]) == (2, 0, 1)


@pytest.mark.parametrize(
    "fractions", [(0.6, 0.5), (-0.1, 0.1), (0.1, -0.1), (1.1, 0.0), (float("nan"), 0.1), (float("inf"), 0.1)]
)
def test_impossible_fractions(fractions: tuple[float, float]) -> None:
    with pytest.raises(ModelError) as caught:
        SeedPolicy(*fractions)
    assert caught.value.code == "invalid_fractions"


def test_decimal_shares_that_add_up_to_one_are_accepted() -> None:
    assert SeedPolicy(0.7, 0.3).core_fraction == 0.7
    assert SeedPolicy(0.9, 0.1).noise_fraction == 0.1


def test_a_score_that_is_not_a_number_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        assign(SeedPolicy(0.3, 0.2), np.array([1.0, np.nan, 2.0, np.inf]), list("abcd"))
    assert (caught.value.code, caught.value.positions) == ("non_finite_score", (1, 3))


def test_no_samples() -> None:
    assert assign(SeedPolicy(0.3, 0.2), np.zeros(0), []).set_sizes() == dict.fromkeys(SET_CODES, 0)


def test_codes_are_the_stored_ones() -> None:
    assert dict(SET_CODES) == {"unscored": 0, "core": 1, "edge": 2, "noise": 3}
    assert len(set(REASON_CODES.values())) == len(REASON_CODES)
