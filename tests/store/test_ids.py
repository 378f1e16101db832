"""Ids: each is given one ordinal, dense and never again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts import Dataset
from app.errors import NotFound
from app.store.ids import IdEntry
from app.store.state import State
from tests.playing import Player


@pytest.fixture
def dataset(player: Player) -> Dataset:
    return player.dataset()


def ordinals(state: State, dataset: Dataset, ids: list[str]) -> list[int]:
    return [entry.ordinal for entry in state.ids.assign(dataset, ids)]


def test_ordinals_are_dense_and_stay(state: State, dataset: Dataset) -> None:
    assert ordinals(state, dataset, ["a", "b", "日"]) == [0, 1, 2]
    assert ordinals(state, dataset, ["b", "c", "a", "b"]) == [1, 3, 0, 1]
    assert state.datasets.next_ordinal(dataset) == 4


def test_an_ordinal_alone_is_no_sample(state: State, dataset: Dataset) -> None:
    state.ids.assign(dataset, ["a"])
    assert state.ids.find(dataset, "a") is None
    state.ids.commit(dataset, [("a", IdEntry(0, 0, 5, 6))], [])
    assert state.ids.find(dataset, "a") == (0, 0, 5, 6)


def test_an_ordinal_is_never_given_again(state: State, dataset: Dataset) -> None:
    state.ids.assign(dataset, ["a", "b"])
    state.ids.commit(dataset, [("a", IdEntry(0, 0, 1, 1)), ("b", IdEntry(1, 0, 1, 1))], [])
    state.ids.commit(dataset, [("b", None)], [])
    assert state.ids.find(dataset, "b") is None
    assert state.ids.names(dataset, [0, 1]) == [(0, "a"), None]
    assert ordinals(state, dataset, ["b"]) == [2]


def test_names_tell_generation_and_id(state: State, dataset: Dataset) -> None:
    ids = [f"s{i}" for i in range(200)]
    entries = state.ids.assign(dataset, ids)
    changes = [
        (i, IdEntry(entry.ordinal, entry.ordinal % 3, 1, 1)) for i, entry in zip(ids, entries, strict=True)
    ]
    state.ids.commit(dataset, list(changes), [])
    assert state.ids.names(dataset, [0, 106, 107, 199, 200]) == [
        (0, "s0"),
        (1, "s106"),
        (2, "s107"),
        (1, "s199"),
        None,
    ]
    assert list(state.ids.scan(dataset)) == changes


def test_assigners_at_once_agree(state: State, dataset: Dataset) -> None:
    ids = [f"s{i}" for i in range(300)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda turn: ordinals(state, dataset, ids[turn * 20 :] + ids[: turn * 20]), range(6))
        )
    by_id = [
        dict(zip(ids[turn * 20 :] + ids[: turn * 20], answer, strict=True))
        for turn, answer in enumerate(answers)
    ]
    assert all(one == by_id[0] for one in by_id)
    assert sorted(by_id[0].values()) == list(range(300))


def test_a_deleted_dataset_gives_no_ordinals_and_takes_no_commits(state: State, dataset: Dataset) -> None:
    state.ids.assign(dataset, ["a"])
    state.datasets.forget(dataset)
    with pytest.raises(NotFound):
        state.ids.assign(dataset, ["b"])
    with pytest.raises(NotFound):
        state.ids.commit(dataset, [("a", IdEntry(0, 0, 1, 1))], [])
    assert list(state.client.scan_iter(match=f"{state.keys.dataset(dataset.uid).base}:*")) == []


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_entries_come_back(generation: int, content: int, attributes: int) -> None:
    entry = IdEntry(7, generation, content, attributes)
    assert IdEntry.unpack(7, entry.pack()) == entry
    assert len(entry.pack()) == 14
