"""A core that grows: what it takes in, what it never takes, and what a second look decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.selection import (
    Evidence,
    Grower,
    Growth,
    drawn,
    random_by_label,
    round_sizes,
    sorted_by_growth,
)
from models.selection.coverage import spread
from models.selection.shares import quotas
from tests.models.test_policies import some_evidence


def doubting(evidence: Evidence, doubts: dict[int, float]) -> Evidence:
    """With these probabilities of a wrong label, and none elsewhere."""
    probability = np.zeros(len(evidence))
    probability[list(doubts)] = list(doubts.values())
    return replace(evidence, noise_probability=probability, suspicion=probability)


def alone(count: int) -> Evidence:
    """Samples without copies or groups."""
    return replace(some_evidence(count), texts=None, groups=None)


def test_one_look_is_not_enough_and_two_must_be_in_a_row() -> None:
    evidence, grower = alone(40), Grower()
    growth = Growth.of_nothing(40)
    for doubts, quarantined in (
        ({3: 0.9, 5: 0.6}, []),
        ({5: 0.7}, [5]),
        ({3: 0.9}, [5]),
        ({3: 0.5}, [3, 5]),
        ({}, [3, 5]),
    ):
        growth = grower.look(doubting(evidence, doubts), growth)
        assert np.flatnonzero(growth.noise).tolist() == quarantined


def test_who_is_doubted_waits_outside_and_who_was_quarantined_leaves() -> None:
    evidence, grower = alone(40), Grower()
    growth, _ = grower.promote(doubting(evidence, {3: 0.6}), Growth.of_nothing(40), 40)
    assert np.flatnonzero(~growth.core).tolist() == [3]
    for _ in range(2):
        growth = grower.look(doubting(evidence, {7: 0.9}), growth)
    assert np.flatnonzero(~growth.core).tolist() == [3, 7]
    growth, _ = grower.promote(doubting(evidence, {}), growth, 40)
    assert np.flatnonzero(~growth.core).tolist() == [7]
    named = sorted_by_growth(doubting(evidence, {}), growth)
    assert named.set_names()[7] == "noise"
    assert named.reason_names()[7] == "mislabelled"


def test_noise_has_its_most_and_persons_are_not_bound_by_it() -> None:
    doubts = {i: 0.5 + i / 100 for i in range(20)}
    evidence, grower = doubting(alone(40), doubts), Grower(noise_fraction=0.1)
    growth = Growth.of_nothing(40)
    for _ in range(3):
        growth = grower.look(evidence, growth)
    assert np.flatnonzero(growth.noise).tolist() == [16, 17, 18, 19]
    verdicts = np.zeros(40, dtype=np.int8)
    verdicts[[30, 31, 32, 33, 34]], verdicts[19] = -1, 1
    growth = grower.look(replace(evidence, verdicts=verdicts), growth)
    assert np.flatnonzero(growth.noise).tolist() == [16, 17, 18, 30, 31, 32, 33, 34]


def test_copies_stay_out_and_the_outvoted_come_back_when_their_rivals_are_wrong() -> None:
    texts = np.arange(40)
    texts[:5] = 0
    labels = np.arange(40) % 2
    labels[:5] = [0, 0, 0, 1, 1]
    evidence = replace(alone(40), texts=texts, labels=labels)
    grower = Grower()
    growth = grower.look(doubting(evidence, {}), Growth.of_nothing(40))
    assert np.flatnonzero(growth.noise).tolist() == [3, 4]
    growth, _ = grower.promote(doubting(evidence, {}), growth, 40)
    assert np.flatnonzero(~growth.core).tolist() == [1, 2, 3, 4]
    wrong = {0: 0.9, 1: 0.9}
    for _ in range(2):
        growth = grower.look(doubting(evidence, wrong), growth)
    assert np.flatnonzero(growth.noise).tolist() == [0, 1, 2]
    growth, _ = grower.promote(doubting(evidence, wrong), growth, 40)
    assert growth.core[:5].tolist() == [False, False, False, True, False]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([None, 0.1]))
def test_the_core_never_loses_but_to_noise(seed: int, rounds: int, most: float | None) -> None:
    random = np.random.default_rng(seed)
    evidence, grower = some_evidence(120, seed=seed), Grower(most, seed)
    order = random.permutation(120)
    growth = shuffled = Growth.of_nothing(120)
    shuffled = shuffled.take(order)
    for turn in range(rounds):
        doubts = random.beta(0.3, 0.6, 120)
        now = replace(evidence, noise_probability=doubts, suspicion=doubts)
        looked = grower.look(now, growth)
        assert not (looked.core & (looked.noise > 0)).any()
        assert np.array_equal(looked.core, growth.core & (looked.noise == 0))
        assert ((looked.noise == 6) >= (growth.noise == 6)).all()
        assert most is None or (looked.noise == 6).sum() <= 12
        growth, _ = grower.promote(now, looked, 30 * (turn + 1))
        assert (growth.core >= looked.core).all()
        assert growth.core.sum() <= 30 * (turn + 1)
        assert (doubts[growth.core & ~looked.core] < 0.5).all()
        shuffled, _ = grower.promote(now.take(order), grower.look(now.take(order), shuffled), 30 * (turn + 1))
        for name in ("core", "doubted", "noise"):
            assert np.array_equal(getattr(shuffled, name), getattr(growth, name)[order])


def test_the_core_keeps_the_labels_shares_as_it_grows() -> None:
    evidence, grower = alone(300), Grower()
    evidence = doubting(evidence, {})
    growth = Growth.of_nothing(300)
    for places in (30, 90, 150):
        growth, _ = grower.promote(evidence, growth, places)
        wanted = quotas(np.bincount(evidence.labels), places)
        assert np.abs(np.bincount(evidence.labels[growth.core]) - wanted).max() <= 1


def test_new_members_go_where_the_core_is_not() -> None:
    random = np.random.default_rng(0)
    corners = np.repeat(np.eye(3, 8), 10, axis=0)
    rows = corners + 0.01 * random.normal(size=(30, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    first = spread(rows, 1, np.arange(30), taken=rows[[0, 12]])
    assert 20 <= first[0] < 30


@pytest.mark.parametrize(
    ("initial", "core", "rounds", "sizes"),
    [
        (0.1, 0.5, 5, [100, 200, 300, 400, 500]),
        (0.15, 0.5, 3, [150, 325, 500]),
        (0.5, 0.5, 2, [500, 500]),
        (0.1, 0.3, 1, [300]),
    ],
)
def test_round_sizes(initial: float, core: float, rounds: int, sizes: list[int]) -> None:
    assert round_sizes(initial, core, rounds, 1000) == sizes


def test_the_control_keeps_the_labels_shares_and_is_another_one_each_round() -> None:
    evidence = some_evidence(300)
    draws = [random_by_label(evidence.labels, 90, drawn(evidence.ids, turn << 32)) for turn in range(20)]
    wanted = quotas(np.bincount(evidence.labels), 90).tolist()
    for draw in draws:
        assert len(set(draw.tolist())) == 90
        assert np.bincount(evidence.labels[draw]).tolist() == wanted
    assert len({draw.tobytes() for draw in draws}) == 20
