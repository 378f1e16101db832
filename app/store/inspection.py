"""Reads the keys as they lie, for `gradsift verify`: nothing is taken for granted, nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import redis

from app.contracts import Dataset
from app.errors import Conflict
from app.store.ids import IdEntry, segment_buckets, segment_of, unpack_id
from app.store.keys import Keys
from app.store.layout import (
    CELL,
    CELLS_A_CHUNK,
    ENTRIES_A_BUCKET,
    MEMBER,
)
from app.store.records import Ledger, Records, unpack_shard
from app.store.set_files import StoredVersion
from app.store.sets import version_chunks

BUCKETS_A_CALL = 512


class Inspection:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    # -- ids -------------------------------------------------------------------------------------------
    def entries(self, dataset: Dataset, first: int, stop: int) -> dict[int, tuple[str, IdEntry]]:
        """Ordinal → id and entry, of ordinals `first` … `stop` − 1."""
        keys = self._keys.dataset(dataset.uid)
        firsts = range(first - first % ENTRIES_A_BUCKET, stop, ENTRIES_A_BUCKET)
        pipe = self._client.pipeline(transaction=False)
        for at in firsts:
            pipe.hgetall(keys.entries(at))
        return {
            at + int(field): (unpack_id(raw), IdEntry.unpack(at + int(field), raw))
            for at, held in zip(firsts, pipe.execute(), strict=True)
            for field, raw in held.items()
            if first <= at + int(field) < stop
        }

    def pointers(self, dataset: Dataset, ordinals: int) -> Iterator[tuple[str, int, int]]:
        """Everything in the index: a key, 12 bits of a CRC-32, and an ordinal that they lead to."""
        prefix = self._keys.dataset(dataset.uid).index_prefix()
        for segment in range(segment_of(max(0, ordinals - 1)) + 1):
            buckets = segment_buckets(segment)
            for start in range(0, buckets, BUCKETS_A_CALL):
                names = [f"{prefix}{segment}:{n}" for n in range(start, min(start + BUCKETS_A_CALL, buckets))]
                pipe = self._client.pipeline(transaction=False)
                for name in names:
                    pipe.hgetall(name)
                for name, held in zip(names, pipe.execute(), strict=True):
                    for mark, listed in held.items():
                        yield from ((name, int(mark), int(ordinal)) for ordinal in listed.split(b","))

    # -- scores ----------------------------------------------------------------------------------------
    def fence(self, dataset: Dataset) -> int:
        return int(self._client.hget(self._keys.dataset(dataset.uid).meta, "fence") or 0)

    def shards(
        self, dataset: Dataset, lineage_id: str, numbers: Iterable[int]
    ) -> tuple[dict[int, tuple[Ledger, Records]], dict[int, str]]:
        """The shards that can be read, and what is wrong with those that cannot."""
        keys = self._keys.dataset(dataset.uid)
        wanted = list(numbers)
        blobs = cast("list[bytes | None]", self._client.mget([keys.shard(lineage_id, n) for n in wanted]))
        shards, broken = {}, {}
        for number, blob in zip(wanted, blobs, strict=True):
            if blob is None:
                continue
            try:
                shards[number] = unpack_shard(blob)
            except (Conflict, ValueError) as error:
                broken[number] = str(error)
        return shards, broken

    # -- sets ------------------------------------------------------------------------------------------
    def versions(self, dataset: Dataset) -> dict[str, str]:
        """The hash of versions, as text."""
        raw = self._client.hgetall(self._keys.dataset(dataset.uid).versions)
        return {key.decode(): value.decode() for key, value in cast("dict[bytes, bytes]", raw).items()}

    def version_differences(
        self, dataset: Dataset, number: int, version: StoredVersion
    ) -> Iterator[tuple[str, list[int]]]:
        """The keys of a version that do not hold what was published, and the ordinals that this concerns."""
        keys = self._keys.dataset(dataset.uid)
        given = int(self._client.hget(keys.meta, "next_ordinal") or 0)
        for key, wanted in version_chunks(keys, number, version.placement, given):
            held = cast("bytes", self._client.get(key) or b"")
            if held == wanted:
                continue
            in_column = key.startswith(keys.column_prefix(number))
            dtype = CELL if in_column else MEMBER
            size = min(len(held), len(wanted)) // dtype.itemsize * dtype.itemsize
            now, right = (np.frombuffer(blob[:size], dtype=dtype) for blob in (held, wanted))
            rows = np.flatnonzero([a.tobytes() != b.tobytes() for a, b in zip(now, right, strict=True)])
            first = int(key.rpartition(":")[2]) * CELLS_A_CHUNK
            yield key, (rows + first if in_column else right[rows]).tolist()

    # -- everything ------------------------------------------------------------------------------------
    def registry(self) -> dict[str, str]:
        """Dataset name → uid."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.datasets))
        return {name.decode(): uid.decode() for name, uid in raw.items()}

    def meta(self, uid: str) -> dict[str, str]:
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.dataset(uid).meta))
        return {name.decode(): value.decode() for name, value in raw.items()}

    def lineage(self, uid: str, lineage_id: str) -> str | None:
        raw = cast("bytes | None", self._client.get(self._keys.dataset(uid).lineage(lineage_id)))
        return None if raw is None else raw.decode()

    def all_keys(self) -> Iterator[str]:
        for key in self._client.scan_iter(match=f"{self._keys.prefix}:*", count=2000):
            yield cast("bytes", key).decode()

    def exists(self, key: str) -> bool:
        return bool(self._client.exists(key))

    # -- jobs ------------------------------------------------------------------------------------------
    def last_token(self) -> int:
        return int(cast("bytes", self._client.get(self._keys.jobs.token) or b"0"))

    def job_ids(self) -> set[str]:
        """Every id in the index, the queue and the leases."""
        keys = self._keys.jobs
        found = (self._client.zrange(key, 0, -1) for key in (keys.index, keys.queue, keys.leases))
        return {raw.decode() for ids in found for raw in cast("list[bytes]", ids)}

    def busy(self) -> dict[str, str]:
        """Dataset uid → the job that runs on it."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.jobs.busy))
        return {uid.decode(): job.decode() for uid, job in raw.items()}

    def job(self, job_id: str) -> tuple[str | None, bool, bool, bool]:
        """State (None: no record), and whether it is in the index, the queue and the leases: all at once."""
        keys = self._keys.jobs
        pipe = self._client.pipeline(transaction=True)
        pipe.hget(keys.record(job_id), "state")
        for key in (keys.index, keys.queue, keys.leases):
            pipe.zscore(key, job_id)
        state, *places = pipe.execute()
        index, queue, leases = (place is not None for place in places)
        return None if state is None else state.decode(), index, queue, leases
