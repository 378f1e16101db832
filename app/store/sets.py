"""Set versions: who is core, edge and noise. A version never changes; of changed samples it is void.

A version is a *column*, one cell an ordinal, and for each set the *members*, ordinals by
importance descending. Both lie in chunks, so that a version of any size is written piece by piece while the
server answers others. The last piece, its description, makes it the current one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, cast

import numpy as np
import redis
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, Dataset, SetName, SetVersion
from app.errors import NotFound
from app.store.datasets import refuse_unless
from app.store.durability import Durability
from app.store.keys import DatasetKeys, Keys
from app.store.layout import CELL, CELL_STRUCT, CELLS_A_CHUNK, MEMBER, MEMBERS_A_CHUNK
from app.store.scripts import Scripts, Value

CHUNKS_A_CALL = 64


class Cell(NamedTuple):
    """One sample's place in a version; the fields are `app.store.layout.CELL_FIELDS`, in their order."""

    generation: int
    set: int
    reason: int
    noise: float
    rank: int
    importance: float

    @classmethod
    def unpack(cls, raw: bytes) -> Cell:
        return cls._make(CELL_STRUCT.unpack(raw))

    @property
    def noise_probability(self) -> float | None:
        return None if math.isnan(self.noise) else self.noise


class Member(NamedTuple):
    """One valid member at its row within the set's order. `importance` is in float32: that of its version."""

    row: int
    sample_id: str
    ordinal: int
    importance: float
    noise_probability: float | None
    reason: int


@dataclass(frozen=True)
class Placement:
    """The arrays (n,) that a version is made of: one entry a scored sample, by importance descending."""

    ordinals: NDArray[np.int64]
    generations: NDArray[np.uint32]
    importance: NDArray[np.float64]
    noise: NDArray[np.float64]
    sets: NDArray[np.uint8]
    reasons: NDArray[np.uint8]
    suggested: NDArray[np.int32]
    """Index of the class that a sample seems to belong to; -1: none. In the version's file, not in Redis."""


class SetStore:
    def __init__(self, client: redis.Redis, keys: Keys, durability: Durability, versions_kept: int) -> None:
        self._client = client
        self._durability = durability
        self._keys = keys
        self._scripts = Scripts(client)
        self._versions_kept = versions_kept

    # -- making a version ------------------------------------------------------------------------------
    def publish(self, dataset_uid: str, description: SetVersion, placement: Placement, *, token: int) -> None:
        """Stores a new version and makes it the current one, all or nothing for readers.

        Raises:
            StaleWorker: another worker has taken the dataset's fence, or published this version.
            NotFound: the dataset was deleted.
        """
        keys = self._keys.dataset(dataset_uid)
        version = description.version
        # On disk before the version is shown: a restart between two chunks may have lost the first.
        self._durability.durably(lambda: self._write_chunks(keys, version, placement, token))
        shown: list[Value] = [token, version, description.model_dump_json(), description.lineage]
        refuse_unless(self._scripts.run("set_publish", [keys.meta, keys.versions], shown), b"published")
        self._drop_old(keys, version)

    def _write_chunks(self, keys: DatasetKeys, version: int, placement: Placement, token: int) -> None:
        given = max(self._ordinals(keys), int(placement.ordinals.max(initial=-1)) + 1)
        chunks = version_chunks(keys, version, placement, given)
        while some := list(islice(chunks, CHUNKS_A_CALL)):
            calls: list[tuple[list[str], list[Value]]] = [
                ([keys.meta, key], [token, version, chunk]) for key, chunk in some
            ]
            for answer in self._scripts.run_each("set_chunk", calls):
                refuse_unless(answer, b"written")

    def _drop_old(self, keys: DatasetKeys, current: int) -> None:
        """Drops versions that are no longer kept; a drop that is cut short is finished after the next one."""
        for old in self._numbers(keys):
            if old > current - self._versions_kept:
                continue
            held = chunk_keys(keys, old, self._ordinals(keys))
            while some := list(islice(held, 1000)):
                self._client.unlink(*some)
            voids = (_void_field(old, name) for name in SetName)
            self._client.hdel(keys.versions, str(old), *voids)

    # -- reading ---------------------------------------------------------------------------------------
    def versions(self, dataset: Dataset) -> list[SetVersion]:
        """The versions that are kept, newest first, with the sizes that are left of them."""
        held = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.dataset(dataset.uid).versions))
        raw = {key.decode(): value for key, value in held.items()}
        found = [read_version(text) for key, text in raw.items() if ":" not in key]
        return sorted((_without_void(version, raw) for version in found), key=lambda v: -v.version)

    def numbers(self, dataset: Dataset) -> list[int]:
        return self._numbers(self._keys.dataset(dataset.uid))

    def version(self, dataset: Dataset, number: int | None) -> SetVersion:
        """One version, the current one by default, with the sizes that are left of it.

        Raises:
            NotFound: no such version is kept, or there is none at all.
        """
        return self.version_and_rows(dataset, number)[0]

    def version_and_rows(self, dataset: Dataset, number: int | None) -> tuple[SetVersion, Mapping[str, int]]:
        """`version`, and how many rows each set has, members that are void by now included."""
        wanted = dataset.set_version if number is None else number
        versions = self._keys.dataset(dataset.uid).versions
        held = cast("list[bytes | None]", self._client.hmget(versions, version_fields(wanted)))
        if held[0] is not None:
            return version_and_rows(wanted, held)
        if not self.numbers(dataset):
            raise NotFound("no_sets_yet", f"dataset {dataset.name!r} has no sets yet")
        raise NotFound("unknown_version", f"dataset {dataset.name!r} keeps no set version {wanted}")

    def current(self, datasets: Sequence[Dataset]) -> dict[str, SetVersion]:
        """By uid, the current version of those that have sets, with the sizes that are left of it."""
        some = [dataset for dataset in datasets if dataset.set_version]
        pipe = self._client.pipeline(transaction=False)
        for dataset in some:
            pipe.hmget(self._keys.dataset(dataset.uid).versions, version_fields(dataset.set_version))
        return {
            dataset.uid: version_and_rows(dataset.set_version, held)[0]
            for dataset, held in zip(some, pipe.execute(), strict=True)
            if held[0] is not None
        }

    def cell(self, dataset: Dataset, version: int, ordinal: int) -> Cell | None:
        """An ordinal's place in a version; None if it has none."""
        at = ordinal % CELLS_A_CHUNK * CELL.itemsize
        chunk = self._keys.dataset(dataset.uid).column(version, ordinal)
        raw = cast("bytes", self._client.getrange(chunk, at, at + CELL.itemsize - 1))
        cell = Cell.unpack(raw) if len(raw) == CELL.itemsize else None
        return cell if cell is not None and cell.set else None

    def column(self, dataset: Dataset, version: int) -> NDArray[np.void]:
        """The cells of a version, one for each ordinal that is given out; zeros where it has none."""
        ordinals = self._ordinals(self._keys.dataset(dataset.uid))
        column = np.zeros(ordinals, dtype=CELL)
        for at, held in self.column_chunks(dataset, version, 0, ordinals):
            column[at : at + len(held)] = held
        return column

    def column_chunks(
        self, dataset: Dataset, version: int, first: int, stop: int
    ) -> Iterator[tuple[int, NDArray[np.void]]]:
        """The cells of the chunks that hold ordinals `first` … `stop` − 1, none of `stop` or above: each
        with the ordinal of its first cell; zeros where the version has none."""
        keys = self._keys.dataset(dataset.uid)
        firsts = range(first - first % CELLS_A_CHUNK, stop, CELLS_A_CHUNK)
        for start in range(0, len(firsts), CHUNKS_A_CALL):
            some = firsts[start : start + CHUNKS_A_CALL]
            chunks = cast("list[bytes | None]", self._client.mget([keys.column(version, at) for at in some]))
            for at, chunk in zip(some, chunks, strict=True):
                cells = np.zeros(min(CELLS_A_CHUNK, stop - at), dtype=CELL)
                held = np.frombuffer(chunk or b"", dtype=CELL)[: len(cells)]
                cells[: len(held)] = held
                yield at, cells

    def rows(self, dataset: Dataset, version: int, set_name: SetName) -> int:
        """How many rows the set has, members that are void by now included."""
        raw = self._client.hget(self._keys.dataset(dataset.uid).versions, str(version))
        return 0 if raw is None else read_version(cast("bytes", raw)).sizes[set_name]

    def members(
        self, dataset: Dataset, version: int, set_name: SetName, first: int, last: int
    ) -> list[Member]:
        """The valid members among rows `first` … `last` (inclusive) of the set's order."""
        keys = self._keys.dataset(dataset.uid)
        prefixes = [
            keys.members_prefix(version, set_name),
            keys.column_prefix(version),
            keys.entries_prefix(),
        ]
        raw = cast("list[bytes]", self._scripts.run("set_rows", [], [*prefixes, first, last]))
        return list(valid_members(np.frombuffer(raw[0], dtype=MEMBER).tolist(), raw[1:], first))

    def _numbers(self, keys: DatasetKeys) -> list[int]:
        return [int(key) for key in cast("list[bytes]", self._client.hkeys(keys.versions)) if b":" not in key]

    def _ordinals(self, keys: DatasetKeys) -> int:
        """How many ordinals are given out: no chunk lies beyond them."""
        return int(self._client.hget(keys.meta, "next_ordinal") or 0)


def chunk_keys(keys: DatasetKeys, version: int, ordinals: int) -> Iterator[str]:
    """Every key that a version over so many ordinals may have."""
    yield from (keys.column(version, at) for at in range(0, ordinals, CELLS_A_CHUNK))
    for name in SetName:
        yield from (keys.members(version, name, row) for row in range(0, ordinals, MEMBERS_A_CHUNK))


def version_chunks(
    keys: DatasetKeys, version: int, placement: Placement, ordinals: int = 0
) -> Iterator[tuple[str, bytes]]:
    """All chunks of a version, empty ones up to so many ordinals too: an attempt that ended before may have
    left others there."""
    column = _column(placement)
    ordinals = max(ordinals, len(column))
    chunks = [column[at : at + CELLS_A_CHUNK] for at in range(0, ordinals, CELLS_A_CHUNK)]
    for name in SetName:
        members = placement.ordinals[placement.sets == CODE_BY_SET[name]].astype(MEMBER)
        chunks += [members[row : row + MEMBERS_A_CHUNK] for row in range(0, ordinals, MEMBERS_A_CHUNK)]
    for key, chunk in zip(chunk_keys(keys, version, ordinals), chunks, strict=True):
        yield key, chunk.tobytes()


def _column(placement: Placement) -> NDArray[np.void]:
    column = np.zeros(int(placement.ordinals.max(initial=-1)) + 1, dtype=CELL)
    cells = np.zeros(len(placement.ordinals), dtype=CELL)
    cells["generation"] = placement.generations
    cells["set"], cells["reason"] = placement.sets, placement.reasons
    cells["noise"], cells["importance"] = placement.noise, placement.importance
    cells["rank"] = np.arange(len(cells))
    column[placement.ordinals] = cells
    return column


def valid_members(ordinals: Sequence[int], rows: Sequence[bytes], first: int) -> Iterator[Member]:
    """Args: rows: the cell of each member and then its id; empty where the member is void."""
    for row, (ordinal, held) in enumerate(zip(ordinals, rows, strict=True), first):
        if not held:
            continue
        cell = Cell.unpack(held[: CELL.itemsize])
        yield Member(
            row=row,
            sample_id=held[CELL.itemsize :].decode(),
            ordinal=ordinal,
            importance=cell.importance,
            noise_probability=cell.noise_probability,
            reason=cell.reason,
        )


@lru_cache(maxsize=256)
def read_version(description: bytes) -> SetVersion:
    """Parsed once: a version never changes, and every look-up and page meets it."""
    return SetVersion.model_validate_json(description)


def version_fields(number: int) -> list[str]:
    """Of one version in the versions' hash: its description, and how many members of each set are void."""
    return [str(number), *(_void_field(number, name) for name in SetName)]


def version_and_rows(number: int, held: Sequence[bytes | None]) -> tuple[SetVersion, Mapping[str, int]]:
    """From the values of `version_fields`: with the sizes that are left, and how many rows each set has."""
    published = read_version(cast("bytes", held[0]))
    return _without_void(published, dict(zip(version_fields(number), held, strict=True))), published.sizes


def _void_field(version: int, set_name: str) -> str:
    return f"{version}:void:{CODE_BY_SET[set_name]}"


def _without_void(version: SetVersion, raw: Mapping[str, bytes | None]) -> SetVersion:
    left = {
        name: size - int(raw.get(_void_field(version.version, name)) or 0)
        for name, size in version.sizes.items()
    }
    return version.model_copy(update={"sizes": left})
