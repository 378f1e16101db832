"""The held-out split: its shares, what it must never take, and that groups stay whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.splitting import stratified_holdout

labels_strategy = st.lists(st.integers(0, 5), max_size=200).map(lambda rows: np.array(rows, dtype=np.int64))
fractions = st.floats(0, 0.9)


@given(labels_strategy, fractions, st.integers(0, 1000))
def test_classes_give_their_share_and_keep_at_least_one(
    labels: np.ndarray, fraction: float, seed: int
) -> None:
    held_out = stratified_holdout(labels, fraction, seed)
    assert held_out.dtype == np.bool_
    assert np.array_equal(held_out, stratified_holdout(labels, fraction, seed))
    for label in np.unique(labels):
        size = int((labels == label).sum())
        given_away = int(held_out[labels == label].sum())
        assert given_away <= size - 1
        assert abs(given_away - fraction * size) <= 1 + 1e-9


def test_the_total_is_the_rounded_share() -> None:
    labels = np.repeat(np.arange(77), 13)
    assert stratified_holdout(labels, 0.1, 0).sum() == 100
    assert stratified_holdout(labels, 0.0, 0).sum() == 0


def test_other_seeds_hold_out_others() -> None:
    labels = np.zeros(100, dtype=np.int64)
    assert not np.array_equal(stratified_holdout(labels, 0.2, 1), stratified_holdout(labels, 0.2, 2))


def test_labels_need_not_be_dense() -> None:
    labels = np.array([-3] * 10 + [900] * 10)
    held_out = stratified_holdout(labels, 0.2, 0)
    assert held_out[:10].sum() == held_out[10:].sum() == 2


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=150),
    fractions,
    st.integers(0, 1000),
)
def test_groups_are_never_torn_and_no_class_is_lost(
    rows: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels = np.array([label for label, _ in rows], dtype=np.int64)
    groups = [f"query {group}" for _, group in rows]
    held_out = stratified_holdout(labels, fraction, seed, groups)
    assert np.array_equal(held_out, stratified_holdout(labels, fraction, seed, groups))
    for group in set(groups):
        assert len({bool(held_out[i]) for i in range(len(rows)) if groups[i] == group}) == 1
    assert set(labels[~held_out].tolist()) == set(labels.tolist())


def test_many_groups_come_near_the_share() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 500, size=5000).tolist()
    labels = rng.choice(4, size=5000, p=[0.5, 0.3, 0.15, 0.05])
    held_out = stratified_holdout(labels, 0.1, 7, groups)
    for label in range(4):
        assert held_out[labels == label].mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(ModelError) as caught:
        stratified_holdout(np.zeros(4, dtype=np.int64), fraction, 0)
    assert caught.value.code == "invalid_fractions"


def test_groups_must_be_as_many_as_labels() -> None:
    with pytest.raises(ValueError, match="2 labels but 1 groups"):
        stratified_holdout(np.array([0, 1]), 0.5, 0, ["a"])
