"""The cumulative score state: shard blobs written by the one worker that holds a dataset's fence."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from app.contracts import Dataset, SetVersion
from app.errors import StaleWorker
from app.store.datasets import refuse_unless
from app.store.ids import pack_crcs
from app.store.keys import DatasetKeys, Keys
from app.store.layout import CELL_STRUCT, HEADER, RECORD_STRUCT, SHARD_RECORDS
from app.store.records import Ledger, Records, empty_records, pack_shard, unpack_shard
from app.store.scripts import Scripts, Value
from app.store.sets import read_version

SHARDS_A_CALL = 64


Values = tuple[
    int, int, int, int, int, float, float, float, float, float, float, float, float, float,  # of a record
    int, int, int, float, int, float,  # of a cell
]  # fmt: skip
"""A sample's record and its cell in the current set version, field by field. Without visits, or in set 0,
there is none for the present content."""
_VALUES = struct.Struct(RECORD_STRUCT.format + CELL_STRUCT.format.removeprefix("<"))
NO_RECORD, NO_CELL = bytes(RECORD_STRUCT.size), bytes(CELL_STRUCT.size)
_NOTHING = NO_RECORD + NO_CELL


@dataclass(frozen=True)
class Lookup:
    """What Redis knows of the samples with these ids."""

    lineage: str | None
    version: SetVersion | None
    ids: Sequence[str]
    packed: Sequence[bytes | None]
    """Record and cell in one, zeros where the present content has none; None for an id that is unknown."""

    @property
    def scored(self) -> int:
        """How many samples the set version has."""
        return 0 if self.version is None else sum(self.version.sizes.values())

    def part(self, start: int, stop: int) -> Lookup:
        if start == 0 and stop == len(self.ids):
            return self
        return Lookup(self.lineage, self.version, self.ids[start:stop], self.packed[start:stop])

    def values(self) -> list[Values | None]:
        """One for each id, None where it is unknown."""
        # All at once, and plain tuples: to name the fields takes longer than all the rest.
        packed = b"".join([_NOTHING if one is None else one for one in self.packed])
        values = cast("Iterator[Values]", _VALUES.iter_unpack(packed))
        return [None if held is None else one for held, one in zip(self.packed, values, strict=True)]


LOOKUP_SCRIPT = "score_lookup"


def lookup_call(keys: DatasetKeys, ids: Sequence[str]) -> tuple[list[str], list[Value]]:
    """KEYS and ARGV of the look-up script."""
    prefixes = [keys.index_prefix(), keys.entries_prefix(), keys.shards_prefix(), keys.versions_prefix()]
    return [keys.meta, keys.versions], [*prefixes, pack_crcs(ids), *ids]


class ScoreStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def lookup(self, dataset: Dataset, ids: Sequence[str]) -> Lookup:
        """Scores of some ids in one round trip."""
        answer = self._scripts.run(LOOKUP_SCRIPT, *lookup_call(self._keys.dataset(dataset.uid), ids))
        lineage, description = answer[:2]
        return Lookup(
            lineage=lineage.decode() or None,
            version=read_version(description) if description else None,
            ids=ids,
            packed=[
                None if record is None else (record or NO_RECORD) + (cell or NO_CELL)
                for record, cell in zip(answer[2::2], answer[3::2], strict=True)
            ],
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
        return {
            number: (ledger, held)
            for number, ledger, held in self.each_shard(dataset_uid, lineage, list(numbers))
        }

    def each_shard(
        self, dataset_uid: str, lineage: str, numbers: Sequence[int]
    ) -> Iterator[tuple[int, Ledger, Records]]:
        """The same one by one, for those who need no more than a look at each."""
        keys = self._keys.dataset(dataset_uid)
        for start in range(0, len(numbers), SHARDS_A_CALL):
            some = numbers[start : start + SHARDS_A_CALL]
            blobs = cast(
                "list[bytes | None]", self._client.mget([keys.shard(lineage, number) for number in some])
            )
            for number, blob in zip(some, blobs, strict=True):
                if blob:
                    yield number, *unpack_shard(blob)

    def mark(self, dataset_uid: str, lineage: str, ordinals: int) -> bytes:
        """Another one whenever a record of these ordinals has been written: the headers of their shards."""
        keys = self._keys.dataset(dataset_uid)
        pipe = self._client.pipeline(transaction=False)
        for number in range(shard_count(ordinals)):
            pipe.getrange(keys.shard(lineage, number), 0, HEADER.size - 1)
        return b"".join(pipe.execute())

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
