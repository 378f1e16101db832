"""Sample id → ordinal, generation and digests; ordinal → id."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import redis

from app.contracts import Dataset
from app.store.keys import NAMES_PER_BUCKET, Keys
from app.store.scripts import Scripts

_ENTRY = struct.Struct("<IIQI")
_GENERATION = struct.Struct("<I")


class IdEntry(NamedTuple):
    """What Redis knows of a sample id.

    `generation` rises when text, text_pair or label change; scores and set members carry the generation that
    they belong to, so those of older content are void by construction. Digests of 0 mean that the ordinal is
    given but no sample has been stored yet.
    """

    ordinal: int
    generation: int
    content: int
    attributes: int

    @property
    def stored(self) -> bool:
        return self.content != 0

    def pack(self) -> bytes:
        return _ENTRY.pack(*self)

    @classmethod
    def unpack(cls, entry: bytes) -> IdEntry:
        return cls(*_ENTRY.unpack(entry))


def unpack_name(name: bytes) -> tuple[int, str]:
    """Generation and id from a value of the names hash."""
    return _GENERATION.unpack_from(name)[0], name[4:].decode()


class IdStore:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def buckets(self, dataset: Dataset, ids: Iterable[str]) -> list[str]:
        keys = self._keys.dataset(dataset.uid)
        return [keys.ids(sample_id, dataset.id_buckets) for sample_id in ids]

    def assign(self, dataset: Dataset, ids: Sequence[str]) -> list[IdEntry]:
        """Every id's entry; an unknown id is given the next ordinal, for good."""
        meta = self._keys.dataset(dataset.uid).meta
        entries = self._scripts.run("ids_assign", [meta, *self.buckets(dataset, ids)], ids)
        return [IdEntry.unpack(entry) for entry in cast("list[bytes]", entries)]

    def find(self, dataset: Dataset, sample_id: str) -> IdEntry | None:
        """The entry of a stored sample; None for an id that is unknown or deleted."""
        raw = self._client.hget(self._keys.dataset(dataset.uid).ids(sample_id, dataset.id_buckets), sample_id)
        if raw is None:
            return None
        entry = IdEntry.unpack(cast("bytes", raw))
        return entry if entry.stored else None

    def commit(
        self, dataset: Dataset, changes: Sequence[tuple[str, IdEntry | None]], versions: Sequence[int]
    ) -> None:
        """Makes stored samples visible under their new entry; None forgets a deleted sample.

        `versions` are the kept set versions, in which members of changed content are counted as void.
        """
        if not changes:
            return
        keys = self._keys.dataset(dataset.uid)
        pairs: list[str | bytes] = []
        for sample_id, entry in changes:
            pairs += [sample_id, b"" if entry is None else entry.pack()]
        self._scripts.run(
            "ids_commit",
            [keys.meta, keys.versions, *self.buckets(dataset, (sample_id for sample_id, _ in changes))],
            [
                keys.names_prefix(),
                NAMES_PER_BUCKET,
                keys.versions_prefix(),
                len(versions),
                *versions,
                *pairs,
            ],
        )

    def names(self, dataset: Dataset, ordinals: Sequence[int]) -> list[tuple[int, str] | None]:
        """Generation and id of each ordinal; None where the sample is deleted."""
        keys = self._keys.dataset(dataset.uid)
        pipe = self._client.pipeline(transaction=False)
        for ordinal in ordinals:
            pipe.hget(keys.names(ordinal), str(ordinal % NAMES_PER_BUCKET))
        return [None if raw is None else unpack_name(raw) for raw in pipe.execute()]
