"""The cumulative score state: shard blobs written by the one worker that holds a dataset's fence."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import redis

from app.contracts import Dataset, SetVersion
from app.errors import StaleWorker
from app.store.datasets import refuse_unless
from app.store.ids import pack_crcs
from app.store.keys import DatasetKeys, Keys
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger, Record, Records, empty_records, pack_shard, unpack_shard
from app.store.scripts import Scripts, Value
from app.store.sets import Cell, read_version

SHARDS_A_CALL = 64


class Found(NamedTuple):
    """What Redis knows of a sample's present content: its record, and its cell in the current set version."""

    sample_id: str
    record: Record | None
    cell: Cell | None


@dataclass(frozen=True)
class Lookup:
    lineage: str | None
    version: SetVersion | None
    found: list[Found | None]


LOOKUP_SCRIPT = "score_lookup"


def lookup_call(keys: DatasetKeys, ids: Sequence[str]) -> tuple[list[str], list[Value]]:
    """KEYS and ARGV of the look-up script."""
    prefixes = [keys.index_prefix(), keys.entries_prefix(), keys.shards_prefix(), keys.versions_prefix()]
    return [keys.meta, keys.versions], [*prefixes, pack_crcs(ids), *ids]


def read_lookup(ids: Sequence[str], answer: Sequence[bytes | None]) -> Lookup:
    """What the look-up script answered for these ids; None for an id that is unknown."""
    lineage, description = cast("tuple[bytes, bytes]", answer[:2])
    return Lookup(
        lineage=lineage.decode() or None,
        version=read_version(description) if description else None,
        found=[
            None
            if record is None
            else Found(
                sample_id,
                Record.unpack(record) if record else None,
                Cell.unpack(cell) if cell else None,
            )
            for sample_id, record, cell in zip(ids, answer[2::2], answer[3::2], strict=True)
        ],
    )


class ScoreStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def lookup(self, dataset: Dataset, ids: Sequence[str]) -> Lookup:
        """Scores of some ids in one round trip; None for an id that is unknown."""
        answer = self._scripts.run(LOOKUP_SCRIPT, *lookup_call(self._keys.dataset(dataset.uid), ids))
        return read_lookup(ids, answer)

    # -- the one write path ----------------------------------------------------------------------------
    def write_shards(
        self, dataset_uid: str, lineage: str, ledger: Ledger, shards: Mapping[int, Records]
    ) -> None:
        """Replaces whole shards, each with its ledger, in one SET a shard.

        A shard whose ledger is already ahead of `ledger` is left as it is: a replay after a crash has not
        caught up with it yet.

        Raises:
            StaleWorker: another worker has taken the dataset's fence.
            NotFound: the dataset was deleted.
        """
        keys = self._keys.dataset(dataset_uid)
        numbers = sorted(shards)
        for start in range(0, len(numbers), SHARDS_A_CALL):
            calls: list[tuple[list[str], list[Value]]] = [
                (
                    [keys.meta, keys.shard(lineage, number)],
                    [ledger.fence, ledger.run, ledger.step, pack_shard(ledger, shards[number])],
                )
                for number in numbers[start : start + SHARDS_A_CALL]
            ]
            for answer in self._scripts.run_each("shard_write", calls):
                refuse_unless(b"written" if answer == b"ahead" else answer, b"written")

    def read_shards(
        self, dataset_uid: str, lineage: str, numbers: Iterable[int]
    ) -> dict[int, tuple[Ledger, Records]]:
        """The shards that exist, with their ledgers."""
        keys = self._keys.dataset(dataset_uid)
        wanted = list(numbers)
        shards: dict[int, tuple[Ledger, Records]] = {}
        for start in range(0, len(wanted), SHARDS_A_CALL):
            some = wanted[start : start + SHARDS_A_CALL]
            blobs = cast(
                "list[bytes | None]", self._client.mget([keys.shard(lineage, number) for number in some])
            )
            shards.update(
                {number: unpack_shard(blob) for number, blob in zip(some, blobs, strict=True) if blob}
            )
        return shards

    def read_all(
        self,
        dataset_uid: str,
        lineage: str,
        ordinals: int,
        *,
        before_run: int | None = None,
        but: Collection[int] = (),
    ) -> Records:
        """The records of ordinals 0 … `ordinals` − 1, empty where nothing is recorded.

        Raises:
            StaleWorker: a shard, `but` for these, holds visits of the run `before_run`, or of a later one.
        """
        records = empty_records(ordinals)
        shards = self.read_shards(dataset_uid, lineage, range(shard_count(ordinals)))
        for number, (ledger, held) in shards.items():
            if before_run is not None and ledger.run >= before_run and number not in but:
                raise StaleWorker("stale_worker", f"run {before_run} of {lineage} has begun already")
            start = number * SHARD_RECORDS
            stop = min(start + len(held), ordinals)
            records[start:stop] = held[: stop - start]
        return records

    def ledgers(self, dataset_uid: str, lineage: str, numbers: Iterable[int]) -> dict[int, Ledger]:
        """The ledgers of the shards that exist."""
        return {
            number: ledger for number, (ledger, _) in self.read_shards(dataset_uid, lineage, numbers).items()
        }


def shard_count(ordinals: int) -> int:
    return math.ceil(ordinals / SHARD_RECORDS)
