"""Score shards and set versions: a worker that was replaced can write neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.contracts import Dataset, SetVersion, now
from app.errors import NotFound, StaleWorker
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger, Records, empty_records
from app.store.scores import SHARDS_A_CALL
from app.store.scripts import Scripts
from app.store.sets import Placement
from app.store.state import State
from tests.playing import LINEAGE, Player

NORMS = {"a": [3.0], "b": [2.0], "c": [1.0]}


@pytest.fixture
def dataset(player: Player) -> Dataset:
    return player.dataset([{"id": i, "text": "t", "label": i} for i in "abc"])


def shard(visits: int) -> Records:
    records = empty_records(SHARD_RECORDS)
    records["visits"] = visits
    return records


def held(state: State, dataset: Dataset) -> tuple[Ledger, int]:
    ledger, records = state.scores.read_shards(dataset.uid, LINEAGE, [0])[0]
    return ledger, int(records["visits"][0])


def write(state: State, dataset: Dataset, ledger: Ledger, visits: int) -> None:
    state.scores.write_shards(dataset.uid, LINEAGE, ledger, {0: shard(visits)})


# -- the fence of a dataset ----------------------------------------------------------------------------
def test_the_fence_only_rises(state: State, dataset: Dataset) -> None:
    state.datasets.take_fence(dataset.uid, 10)
    state.datasets.take_fence(dataset.uid, 10)
    with pytest.raises(StaleWorker):
        state.datasets.take_fence(dataset.uid, 9)
    state.datasets.take_fence(dataset.uid, 2_000_000_000_000_000)
    with pytest.raises(StaleWorker):
        state.datasets.take_fence(dataset.uid, 1_999_999_999_999_999)
    state.datasets.forget(dataset)
    with pytest.raises(NotFound):
        state.datasets.take_fence(dataset.uid, 2_000_000_000_000_001)


# -- shards --------------------------------------------------------------------------------------------
def test_a_stale_worker_writes_nothing(state: State, dataset: Dataset) -> None:
    state.datasets.take_fence(dataset.uid, 10)
    write(state, dataset, Ledger(10, 1, 5), 5)
    state.datasets.take_fence(dataset.uid, 11)
    with pytest.raises(StaleWorker):
        write(state, dataset, Ledger(10, 1, 6), 99)
    assert held(state, dataset) == (Ledger(10, 1, 5), 5)


def test_the_shard_itself_remembers_a_fence_that_the_server_lost(state: State, dataset: Dataset) -> None:
    write(state, dataset, Ledger(11, 1, 5), 5)
    state.client.hdel(state.keys.dataset(dataset.uid).meta, "fence")
    with pytest.raises(StaleWorker):
        write(state, dataset, Ledger(10, 2, 9), 99)
    assert held(state, dataset) == (Ledger(11, 1, 5), 5)


@pytest.mark.parametrize(
    ("ledger", "written"),
    [
        (Ledger(12, 3, 6), True),
        (Ledger(12, 3, 5), True),
        (Ledger(11, 3, 5), True),
        (Ledger(12, 4, 0), True),
        (Ledger(12, 3, 4), False),
        (Ledger(12, 2, 9), False),
        (Ledger(12, 3, 2**32 - 1), True),
    ],
)
def test_a_replay_leaves_a_ledger_that_is_ahead_alone(
    state: State, dataset: Dataset, ledger: Ledger, written: bool
) -> None:
    write(state, dataset, Ledger(11, 3, 5), 5)
    write(state, dataset, ledger, 6)
    assert held(state, dataset) == ((ledger, 6) if written else (Ledger(11, 3, 5), 5))


def test_a_deleted_dataset_takes_no_shard(state: State, dataset: Dataset) -> None:
    state.datasets.forget(dataset)
    with pytest.raises(NotFound):
        write(state, dataset, Ledger(11, 1, 1), 1)
    assert list(state.client.scan_iter(match=f"{state.keys.dataset(dataset.uid).base}:*")) == []


def test_many_shards_are_written_and_read_whole(state: State, dataset: Dataset) -> None:
    count = SHARDS_A_CALL + 3
    state.scores.write_shards(dataset.uid, LINEAGE, Ledger(1, 1, 1), {n: shard(n + 1) for n in range(count)})
    records = state.scores.read_all(dataset.uid, LINEAGE, count * SHARD_RECORDS - 5)
    assert len(records) == count * SHARD_RECORDS - 5
    assert (records["visits"][::SHARD_RECORDS] == np.arange(1, count + 1)).all()
    assert set(state.scores.ledgers(dataset.uid, LINEAGE, range(count + 2))) == set(range(count))


def test_shards_that_are_not_there_are_empty(state: State, dataset: Dataset) -> None:
    write(state, dataset, Ledger(1, 1, 1), 1)
    records = state.scores.read_all(dataset.uid, LINEAGE, 2 * SHARD_RECORDS)
    assert records["visits"].tolist() == [1] * SHARD_RECORDS + [0] * SHARD_RECORDS


# -- set versions --------------------------------------------------------------------------------------
def everything(state: State, dataset: Dataset) -> dict[bytes, bytes | None]:
    """Every key of the dataset with its value, as the server would dump it."""
    keys = state.client.scan_iter(match=f"{state.keys.dataset(dataset.uid).base}:*")
    return {key: state.client.dump(key) for key in keys}


def test_a_stale_worker_publishes_nothing_and_harms_nothing(
    state: State, dataset: Dataset, player: Player
) -> None:
    """Both make version 1 out of what they read; the one that was replaced comes last."""
    player.queue()
    stale = player.claim()
    newer = stale.model_copy(update={"token": stale.token + 1})
    state.datasets.take_fence(dataset.uid, newer.token)
    publish(state, dataset, newer.token, code=1)
    before = everything(state, dataset)
    with pytest.raises(StaleWorker):
        publish(state, dataset, stale.token, code=3)
    assert everything(state, dataset) == before


def test_a_deleted_dataset_takes_no_version(state: State, dataset: Dataset) -> None:
    state.datasets.forget(dataset)
    with pytest.raises(NotFound):
        publish(state, dataset, 1, code=1)
    assert everything(state, dataset) == {}


def publish(state: State, dataset: Dataset, token: int, *, code: int, count: int = 3) -> None:
    """Version 1, with the first `count` samples in one set."""
    sizes = {name: count * (number == code) for name, number in (("core", 1), ("edge", 2), ("noise", 3))}
    version = SetVersion(
        version=1, policy="seed", params={}, job="j", lineage=LINEAGE, created_at=now(), sizes=sizes
    )
    placement = Placement(
        ordinals=np.arange(count),
        generations=np.zeros(count, np.uint32),
        importance=np.ones(count),
        noise=np.full(count, np.nan),
        sets=np.full(count, code, np.uint8),
        reasons=np.ones(count, np.uint8),
        suggested=np.full(count, -1, np.int32),
    )
    state.sets.publish(dataset.uid, version, placement, token=token)


def test_a_published_version_is_never_written_again(state: State, dataset: Dataset) -> None:
    publish(state, dataset, 10, code=1)
    before = everything(state, dataset)
    with pytest.raises(StaleWorker):
        publish(state, dataset, 11, code=3)
    assert everything(state, dataset) == before


def test_what_a_maker_that_died_left_is_not_part_of_the_version(
    state: State, dataset: Dataset, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chunks are there, its description is not; the next maker places one sample only."""
    monkeypatch.setattr("app.store.sets.CELLS_A_CHUNK", 1)
    monkeypatch.setattr("app.store.keys.CELLS_A_CHUNK", 1)
    keys = state.keys.dataset(dataset.uid)
    with monkeypatch.context() as dying:
        dying.setattr("app.store.sets.CHUNKS_A_CALL", 4)
        dying.setattr(type(state.sets._scripts), "run", _dies_at_publish)
        with pytest.raises(RuntimeError, match="killed"):
            publish(state, dataset, 10, code=1)
    assert [state.client.exists(keys.column(1, ordinal)) for ordinal in range(3)] == [1, 1, 1]
    publish(state, dataset, 11, code=2, count=1)
    assert [state.client.exists(keys.column(1, ordinal)) for ordinal in range(3)] == [1, 0, 0]
    assert state.client.exists(keys.members(1, "core", 0)) == 0
    assert state.sets.column(dataset, 1)["set"].tolist() == [2, 0, 0]


_run = Scripts.run


def _dies_at_publish(scripts: Scripts, name: str, *given: Any, **named: Any) -> Any:
    if name == "set_publish":
        raise RuntimeError("killed")
    return _run(scripts, name, *given, **named)


def test_a_smaller_number_of_versions_to_keep_drops_all_older_ones(player: Player, dataset: Dataset) -> None:
    for _ in range(4):
        player.score(NORMS)
    player.state.sets._versions_kept = 2
    player.score(NORMS)
    assert [v.version for v in player.state.sets.versions(player.state.datasets.get("d"))] == [5, 4]
