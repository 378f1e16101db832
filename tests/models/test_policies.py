"""Every policy: the same sets whatever the order of the samples, and what each of them promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.selection import (
    CcsPolicy,
    Checks,
    Evidence,
    Policy,
    RandomPolicy,
    RobustPolicy,
    SeedPolicy,
    TopKPolicy,
)
from models.selection.coverage import spread
from models.selection.shares import quotas, share

POLICIES: list[Policy] = [
    SeedPolicy(0.3, 0.2),
    TopKPolicy(0.3),
    CcsPolicy(0.3, 0.1, seed=3),
    RandomPolicy(0.3, seed=3),
    RobustPolicy(0.3, seed=3),
    RobustPolicy(0.3, 0.05, seed=3),
]


def some_evidence(count: int, *, classes: int = 3, seed: int = 0) -> Evidence:
    random = np.random.default_rng(seed)
    labels = random.choice(classes, count, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    embedding = np.eye(classes, 8)[labels] + 0.4 * random.normal(size=(count, 8))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    suspicion = random.normal(size=count)
    return Evidence(
        ids=[f"s{i:05}" for i in range(count)],
        labels=labels,
        classes=classes,
        importance=np.round(random.lognormal(size=count), 1),  # with ties
        groups=random.integers(0, max(1, count // 10), count),
        texts=random.integers(0, 2 * count + 1, count),
        embedding=embedding.astype(np.float32),
        noise_probability=1 / (1 + np.exp(-4 * (suspicion - 1))),
        suspicion=suspicion,
    )


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 300])
def test_the_order_of_the_samples_does_not_show(policy: Policy, count: int) -> None:
    evidence = some_evidence(count)
    order = np.random.default_rng(1).permutation(count)
    plain, shuffled = policy.assign(evidence), policy.assign(evidence.take(order))
    assert np.array_equal(plain.sets[order], shuffled.sets)
    assert np.array_equal(plain.reasons[order], shuffled.reasons)
    assert np.array_equal(plain.order, order[shuffled.order])
    assert plain.told == shuffled.told


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_the_core_has_its_share(policy: Policy) -> None:
    evidence = some_evidence(300)
    assert policy.assign(evidence).set_sizes()["core"] == 90
    assert np.array_equal(policy.assign(evidence).order, evidence.importance_order())


def test_top_k_keeps_the_shares_of_the_labels() -> None:
    evidence = some_evidence(300)
    core = TopKPolicy(0.3).assign(evidence).sets == 1
    for label in range(3):
        members = evidence.labels == label
        assert core[members].sum() == pytest.approx(0.3 * members.sum(), abs=1)
        assert evidence.importance[members & core].min() >= evidence.importance[members & ~core].max()


def test_ccs_cuts_the_hardest_and_fills_the_strata_evenly() -> None:
    """50 strata, 8 of them with one sample, the others with ten: 60 places are one for each and 10 more."""
    values = [s + 0.05 + 0.09 * i for s in range(50) for i in range(1 if s < 8 else 10)]
    values[0], values[-1] = 0.0, 50.0
    values += [1000.0, 1001.0]
    ids = [f"s{i:03}" for i in range(len(values))]
    evidence = Evidence(ids, np.zeros(len(values), dtype=np.int64), 2, np.array(values))
    found = CcsPolicy(60 / len(values), 2 / len(values)).assign(evidence)
    assert found.set_sizes() == {"unscored": 0, "core": 60, "edge": len(values) - 62, "noise": 2}
    assert [ids[i] for i in np.flatnonzero(found.sets == 3)] == ids[-2:]
    strata = np.minimum(np.array(values[:-2]).astype(int), 49)
    taken = np.bincount(strata[found.sets[:-2] == 1], minlength=50)
    assert set(taken[:8].tolist()) == {1}
    assert set(taken[8:].tolist()) <= {1, 2}


def test_random_is_another_draw_with_another_seed_and_fair() -> None:
    evidence = some_evidence(300)
    draws = np.array([RandomPolicy(0.3, seed).assign(evidence).sets == 1 for seed in range(200)])
    assert (draws.sum(axis=1) == 90).all()
    assert len({draw.tobytes() for draw in draws}) == 200
    assert draws.mean(axis=0).std() == pytest.approx(np.sqrt(0.3 * 0.7 / 200), rel=0.3)


# -- robust ------------------------------------------------------------------------------------------
def test_what_is_probably_wrong_is_noise_up_to_the_share_allowed() -> None:
    evidence = some_evidence(300)
    called = evidence.noise_probability >= 0.5
    found = RobustPolicy(0.3).assign(evidence)
    assert (found.sets[called] == 3).all()
    few = RobustPolicy(0.3, 0.02).assign(evidence)
    worst = np.flatnonzero(np.array(few.reason_names()) == "mislabelled")
    assert len(worst) == share(0.02, 300)
    assert evidence.suspicion[worst].min() == np.sort(evidence.suspicion)[-len(worst)]


def test_of_equal_texts_one_is_kept_and_the_outvoted_are_noise() -> None:
    labels = np.array([0, 0, 1, 1, 1, 0])
    evidence = Evidence(list("abcdef"), labels, 2, np.ones(6), texts=np.array([7, 7, 7, 8, 8, 9]))
    found = RobustPolicy(1.0).assign(evidence)
    assert found.set_names() == ["core", "edge", "noise", "core", "edge", "core"]
    assert found.reason_names()[1:3] == ["duplicate", "duplicate"]


def test_a_copy_that_is_wrong_neither_stands_for_the_others_nor_outvotes_them() -> None:
    labels, texts = np.array([0, 0, 1, 1, 0]), np.array([7, 7, 8, 8, 8])
    doubts = np.array([0.9, 0.1, 0.9, 0.9, 0.1])
    evidence = Evidence(list("abcde"), labels, 2, np.ones(5), texts=texts, noise_probability=doubts)
    found = RobustPolicy(1.0).assign(evidence)
    assert found.set_names() == ["noise", "core", "noise", "noise", "core"]
    assert found.reason_names()[0] == "mislabelled"


def test_a_label_that_a_person_confirmed_outvotes_any_number_of_copies() -> None:
    confirmed = np.array([1, 0, 0, 0], dtype=np.int8)
    evidence = Evidence(
        list("abcd"), np.array([0, 1, 1, 1]), 2, np.ones(4), texts=np.full(4, 7), verdicts=confirmed
    )
    assert RobustPolicy(1.0).assign(evidence).set_names() == ["core", "noise", "noise", "noise"]
    both = replace(evidence, verdicts=np.array([1, 1, 0, 0], dtype=np.int8))
    assert RobustPolicy(1.0).assign(both).set_names() == ["core", "core", "edge", "edge"]


def test_no_label_vanishes_and_every_group_stays_while_there_is_room() -> None:
    evidence = some_evidence(400, classes=5)
    found = RobustPolicy(0.3).assign(evidence)
    names = np.array(found.reason_names())
    eligible = (found.sets != 3) & (names != "duplicate")
    core = found.sets == 1
    assert evidence.groups is not None
    assert set(evidence.labels[core]) == set(evidence.labels[eligible])
    assert set(evidence.groups[core]) == set(evidence.groups[eligible])


def test_caution_is_chosen_by_how_well_the_core_teaches() -> None:
    """Two clouds whose suspicious samples are mislabelled: leaving them out is right. Where suspicion says
    nothing, it is not."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    embedding = np.eye(2, 6)[labels] + 0.25 * random.normal(size=(800, 6))
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    checks = Checks(embedding[::4], labels[::4])
    inside = np.setdiff1d(np.arange(800), np.arange(0, 800, 4))
    wrong = random.random(len(inside)) < 0.45 * labels[inside]
    noisy = np.where(wrong, 1 - labels[inside], labels[inside])

    def evidence(given_: np.ndarray, suspicion: np.ndarray) -> Evidence:
        ids = [f"s{i:03}" for i in range(len(inside))]
        ones = np.ones(len(inside))
        return Evidence(ids, given_, 2, ones, embedding=embedding[inside], suspicion=suspicion, checks=checks)

    of_wrong = evidence(noisy, wrong + 0.1 * random.random(len(inside)))
    of_right = evidence(labels[inside], random.random(len(inside)))
    assert RobustPolicy(0.5).assign(of_wrong).told["caution"] >= 0.1
    assert RobustPolicy(0.5).assign(of_right).told["caution"] == 0.0


# -- parts -------------------------------------------------------------------------------------------
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 300))
@settings(deadline=None)
def test_quotas(sizes: list[int], total: int) -> None:
    held = np.array(sizes, dtype=np.int64)
    found = quotas(held, total)
    assert found.sum() == min(total, held.sum())
    assert ((found >= 0) & (found <= held)).all()
    filled = held > 0
    if total >= filled.sum():
        assert (found[filled] >= 1).all()
        exact = held * total / max(held.sum(), 1)
        assert (found <= np.maximum(np.ceil(exact) + 1, 1)).all()


def test_spread_is_greedy_facility_location() -> None:
    """Against the plain greedy: at each step the sample that raises Σ_i max_j s_ij the most."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 5))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    similar = np.maximum(rows @ rows.T, 0.0).astype(float)
    taken: list[int] = []
    for _ in range(12):
        covered = similar[taken].max(axis=0) if taken else np.zeros(60)
        gains = np.maximum(similar - covered, 0.0).sum(axis=1)
        gains[taken] = -1.0
        taken.append(int(gains.argmax()))
    assert spread(rows, 12, np.arange(60)).tolist() == taken


def test_spread_serves_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.selection.coverage.PARTITION", 50)
    rows = np.eye(4, dtype=np.float32)[np.arange(220) % 4]
    found = spread(rows, 33, np.random.default_rng(0).permutation(220))
    assert len(set(found.tolist())) == 33


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ModelError, match="Score these samples again"):
        Evidence(["a"], np.zeros(1, dtype=np.int64), 2, np.array([np.nan]))


@pytest.mark.parametrize(("fraction", "taken"), [(0.5, 50), (0.1, None)])
def test_where_places_are_plenty_half_go_to_the_ambiguous(fraction: float, taken: int | None) -> None:
    """200 samples a label: 100 places are plenty, 20 are not."""
    random = np.random.default_rng(0)
    embedding = random.normal(size=(400, 8))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    evidence = Evidence(
        ids=[f"s{i:05}" for i in range(400)],
        labels=np.arange(400) % 2,
        classes=2,
        importance=random.lognormal(size=400),
        embedding=embedding.astype(np.float32),
    )
    torn = replace(evidence, ambiguity=random.random(400))
    plain, tilted = (np.flatnonzero(RobustPolicy(fraction).assign(one).sets == 1) for one in (evidence, torn))
    if taken is None:
        assert np.array_equal(plain, tilted)
        return
    for label in (0, 1):
        members = tilted[torn.labels[tilted] == label]
        left = np.setdiff1d(np.flatnonzero(torn.labels == label), members)
        assert len(members) == 2 * taken
        assert (torn.ambiguity[members] > torn.ambiguity[left].max()).sum() >= taken
