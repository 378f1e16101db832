"""The cumulative score state: shard blobs written by the one worker that holds a dataset's fence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import redis

from app.contracts import Dataset, SetVersion
from app.store.datasets import refuse_unless
from app.store.ids import IdEntry, IdStore
from app.store.keys import SHARD_RECORDS, Keys
from app.store.records import RECORD, Ledger, Records, empty_records, pack_shard, unpack_shard
from app.store.scripts import Scripts
from app.store.sets import COLUMN

SHARDS_A_CALL = 64


@dataclass(frozen=True)
class Found:
    """What Redis knows of one sample id: its entry, its record and its place in the current set version.

    `record` and `cell` are None unless they belong to the sample's present content.
    """

    sample_id: str
    entry: IdEntry
    record: np.void | None
    cell: np.void | None


@dataclass(frozen=True)
class Lookup:
    lineage: str | None
    version: SetVersion | None
    found: list[Found | None]


class ScoreStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._ids = IdStore(client, keys)

    def lookup(self, dataset: Dataset, ids: Sequence[str]) -> Lookup:
        """Scores of some ids in one round trip; None for an id that is unknown."""
        keys = self._keys.dataset(dataset.uid)
        raw = cast(
            "list[bytes]",
            self._scripts.run(
                "score_lookup",
                [keys.meta, keys.versions, *self._ids.buckets(dataset, ids)],
                [keys.shards_prefix(), keys.versions_prefix(), SHARD_RECORDS, *ids],
            ),
        )
        lineage, _, description = raw[:3]
        found = [
            _found(sample_id, *raw[at : at + 3])
            for sample_id, at in zip(ids, range(3, len(raw), 3), strict=True)
        ]
        return Lookup(
            lineage=lineage.decode() or None,
            version=SetVersion.model_validate_json(description) if description else None,
            found=found,
        )

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
            pipe = self._client.pipeline(transaction=False)
            for number in numbers[start : start + SHARDS_A_CALL]:
                blob = pack_shard(ledger, shards[number])
                self._scripts.run(
                    "shard_write",
                    [keys.meta, keys.shard(lineage, number)],
                    [ledger.fence, ledger.run, ledger.step, blob],
                    pipeline=pipe,
                )
            for answer in pipe.execute():
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

    def read_all(self, dataset_uid: str, lineage: str, ordinals: int) -> Records:
        """The records of ordinals 0 … `ordinals` − 1, empty where nothing is recorded."""
        records = empty_records(ordinals)
        for number, (_, held) in self.read_shards(dataset_uid, lineage, range(shard_count(ordinals))).items():
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


def _found(sample_id: str, entry_raw: bytes, record_raw: bytes, cell_raw: bytes) -> Found | None:
    if not entry_raw:
        return None
    entry = IdEntry.unpack(entry_raw)
    if not entry.stored:
        return None
    return Found(
        sample_id=sample_id,
        entry=entry,
        record=_current(record_raw, RECORD, entry, "visits"),
        cell=_current(cell_raw, COLUMN, entry, "set"),
    )


def _current(raw: bytes, dtype: np.dtype[Any], entry: IdEntry, nonzero: str) -> np.void | None:
    """The row, if it is there and belongs to the sample's present content."""
    if len(raw) != dtype.itemsize:
        return None
    row = np.frombuffer(raw, dtype=dtype)[0]
    current = row["generation"] == entry.generation and row[nonzero] > 0
    return cast("np.void", row) if current else None
