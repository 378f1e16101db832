"""Sample id → ordinal, generation and digests; ordinal → id."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast
from zlib import crc32

import redis

from app.contracts import Dataset
from app.store.keys import Keys
from app.store.layout import ENTRIES_A_BUCKET, ENTRY, FIRST_SEGMENT, IDS_A_BUCKET, SEGMENT_GROWTH
from app.store.scripts import Scripts, Value


class IdEntry(NamedTuple):
    """What Redis knows of a sample id.

    `generation` rises when text, text_pair, label or split change; scores and set members carry the
    generation that they belong to, so those of older content are void by construction. Digests of 0 mean that
    the ordinal is given but no sample has been stored yet.
    """

    ordinal: int
    generation: int
    content: int
    attributes: int

    @property
    def stored(self) -> bool:
        return self.content != 0

    def pack(self) -> bytes:
        return ENTRY.pack(self.generation, self.content, self.attributes)

    @classmethod
    def unpack(cls, ordinal: int, entry: bytes) -> IdEntry:
        return cls(ordinal, *ENTRY.unpack_from(entry))


def unpack_id(entry: bytes) -> str:
    """The id of a whole entry."""
    return entry[ENTRY.size :].decode()


def crcs_of(ids: Sequence[bytes]) -> list[int]:
    """Where the index is asked for each id: its CRC-32."""
    return [crc32(sample_id) for sample_id in ids]


def pack_crcs(ids: Sequence[str]) -> bytes:
    """`crcs_of` as 4 bytes each."""
    return struct.pack(f"<{len(ids)}I", *crcs_of([sample_id.encode() for sample_id in ids]))


IDS_A_CALL = 1_000
"""In one script: the server answers nobody else meanwhile."""


def segment_of(ordinal: int) -> int:
    """The segment of the index that holds an ordinal."""
    segment, end = 0, FIRST_SEGMENT
    while ordinal >= end:
        segment, end = segment + 1, end * SEGMENT_GROWTH
    return segment


def segment_buckets(segment: int) -> int:
    end: int = FIRST_SEGMENT * SEGMENT_GROWTH**segment
    start = 0 if segment == 0 else end // SEGMENT_GROWTH
    return (end - start) // IDS_A_BUCKET


def segments_of(ordinals: int) -> list[int]:
    """The segments that hold so many ordinals, the one with the most of them first."""
    newest = segment_of(ordinals - 1)
    ends = [0, *(FIRST_SEGMENT * SEGMENT_GROWTH**segment for segment in range(newest)), ordinals]
    return sorted(range(newest + 1), key=lambda segment: ends[segment] - ends[segment + 1])


def index_place(sample_id: str, ordinal: int) -> tuple[str, int]:
    """Where the index leads from an id to its ordinal: `<segment>:<bucket>`, and 12 bits of its CRC-32."""
    crc, segment = crc32(sample_id.encode()), segment_of(ordinal)
    return f"{segment}:{crc % segment_buckets(segment)}", crc >> 20


class IdStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def assign(self, dataset: Dataset, ids: Sequence[str]) -> list[IdEntry]:
        """Every id's entry; an unknown id is given the next ordinal, for good."""
        keys = self._keys.dataset(dataset.uid)
        found: list[IdEntry] = []
        for start in range(0, len(ids), IDS_A_CALL):
            some = ids[start : start + IDS_A_CALL]
            args: list[Value] = [keys.index_prefix(), keys.entries_prefix(), pack_crcs(some), *some]
            raw = self._scripts.run("ids_assign", [keys.meta], args)
            unpacked = map(ENTRY.unpack, raw[1::2])
            found += [IdEntry(ordinal, *entry) for ordinal, entry in zip(raw[::2], unpacked, strict=True)]
        return found

    def find(self, dataset: Dataset, sample_id: str) -> IdEntry | None:
        """The entry of a stored sample; None for an id that is unknown or deleted."""
        entry = self.entries(dataset, [sample_id])[0]
        return entry if entry is not None and entry.stored else None

    def entries(self, dataset: Dataset, ids: Sequence[str]) -> list[IdEntry | None]:
        """The entry of every id, that of one which is given but not stored too; None where it is unknown."""
        keys = self._keys.dataset(dataset.uid)
        found: list[IdEntry | None] = []
        for start in range(0, len(ids), IDS_A_CALL):
            some = ids[start : start + IDS_A_CALL]
            args: list[Value] = [keys.index_prefix(), keys.entries_prefix(), pack_crcs(some), *some]
            raw = iter(self._scripts.run("ids_find", [keys.meta], args))
            found += [
                None if entry is None else IdEntry.unpack(at, entry)
                for at, entry in zip(raw, raw, strict=True)
            ]
        return found

    def restore(self, dataset: Dataset, entries: Sequence[tuple[str, IdEntry]]) -> None:
        """Writes entries of a dataset that has none of them; to be called in the order of the ordinals."""
        keys = self._keys.dataset(dataset.uid)
        crcs = pack_crcs([sample_id for sample_id, _ in entries])
        args: list[Value] = [keys.index_prefix(), keys.entries_prefix(), crcs]
        for sample_id, entry in entries:
            args += [entry.ordinal, entry.pack() + sample_id.encode()]
        self._scripts.run("ids_restore", [keys.meta], args)

    def commit(
        self, dataset: Dataset, changes: Sequence[tuple[str, IdEntry | None]], versions: Sequence[int]
    ) -> None:
        """Makes stored samples visible under their new entry; None forgets a deleted sample.

        `versions` are the kept set versions, in which members of changed content are counted as void. What a
        writer that dies between two calls has not made visible, the journal tells the next one.
        """
        keys = self._keys.dataset(dataset.uid)
        shown_versions = " ".join(map(str, versions))
        for start in range(0, len(changes), IDS_A_CALL):
            some = changes[start : start + IDS_A_CALL]
            args: list[Value] = [
                keys.index_prefix(),
                keys.entries_prefix(),
                keys.versions_prefix(),
                shown_versions,
                pack_crcs([sample_id for sample_id, _ in some]),
            ]
            for sample_id, entry in some:
                args += (sample_id, "", b"") if entry is None else (sample_id, entry.ordinal, entry.pack())
            self._scripts.run("ids_commit", [keys.meta, keys.versions], args)

    def names(self, dataset: Dataset, ordinals: Sequence[int]) -> list[tuple[int, str] | None]:
        """Generation and id of each ordinal; None where the sample is deleted."""
        keys = self._keys.dataset(dataset.uid)
        pipe = self._client.pipeline(transaction=False)
        for ordinal in ordinals:
            pipe.hget(keys.entries(ordinal), str(ordinal % ENTRIES_A_BUCKET))
        return [
            None if raw is None else (IdEntry.unpack(ordinal, raw).generation, unpack_id(raw))
            for ordinal, raw in zip(ordinals, pipe.execute(), strict=True)
        ]

    def scan(self, dataset: Dataset) -> Iterator[tuple[str, IdEntry]]:
        """Every id with its entry, in the order of the ordinals, those without a stored sample included."""
        keys = self._keys.dataset(dataset.uid)
        total = int(self._client.hget(keys.meta, "next_ordinal") or 0)
        for first in range(0, total, ENTRIES_A_BUCKET):
            held = cast("dict[bytes, bytes]", self._client.hgetall(keys.entries(first)))
            for field in sorted(held, key=int):
                yield unpack_id(held[field]), IdEntry.unpack(first + int(field), held[field])
