"""Set versions: who is core, edge and noise. A version never changes; of changed samples it is void."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import redis
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, Dataset, SetName, SetVersion
from app.errors import NotFound
from app.store.datasets import refuse_unless
from app.store.ids import unpack_name
from app.store.keys import NAMES_PER_BUCKET, Keys
from app.store.scripts import Scripts

COLUMN = np.dtype([("set", "u1"), ("reason", "u1"), ("noise", "<f2"), ("rank", "<u4"), ("generation", "<u4")])
"""One ordinal's place in a version; `rank` 0 is the highest importance, `noise` NaN where not estimated."""
MEMBER = np.dtype(
    [
        ("ordinal", "<u4"),
        ("generation", "<u4"),
        ("importance", "<f8"),
        ("noise", "<f4"),
        ("reason", "u1"),
        ("spare", "u1", 3),
    ]
)


@dataclass(frozen=True)
class Member:
    """One valid member at its row within the set's order."""

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


class SetStore:
    def __init__(self, client: redis.Redis, keys: Keys, versions_kept: int) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._versions_kept = versions_kept

    def publish(self, dataset_uid: str, description: SetVersion, placement: Placement, *, token: int) -> None:
        """Stores a version's columns and makes it the current one, all or nothing for readers.

        Raises:
            StaleWorker: another worker has taken the dataset's fence.
            NotFound: the dataset was deleted.
        """
        keys = self._keys.dataset(dataset_uid)
        version = description.version
        answer = self._scripts.run(
            "set_publish",
            [
                keys.meta,
                keys.versions,
                keys.column(version),
                *(keys.members(version, name) for name in SetName),
            ],
            [
                token,
                version,
                description.model_dump_json(),
                description.lineage,
                _column(placement),
                *(_members(placement, placement.sets == CODE_BY_SET[name]) for name in SetName),
            ],
        )
        refuse_unless(answer, b"published")
        self._drop_old(dataset_uid, version)

    def versions(self, dataset: Dataset) -> list[SetVersion]:
        """The versions that are kept, newest first, with the sizes that are left of them."""
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.dataset(dataset.uid).versions))
        found = [SetVersion.model_validate_json(text) for key, text in raw.items() if b":" not in key]
        return sorted((_without_void(version, raw) for version in found), key=lambda v: -v.version)

    def numbers(self, dataset: Dataset) -> list[int]:
        return self._numbers(dataset.uid)

    def version(self, dataset: Dataset, number: int | None) -> SetVersion:
        """One version, the current one by default.

        Raises:
            NotFound: no such version is kept, or there is none at all.
        """
        kept = self.versions(dataset)
        wanted = dataset.set_version if number is None else number
        for version in kept:
            if version.version == wanted:
                return version
        if not kept:
            raise NotFound("no_sets_yet", f"dataset {dataset.name!r} has no sets yet")
        raise NotFound("unknown_version", f"dataset {dataset.name!r} keeps no set version {wanted}")

    def cell(self, dataset: Dataset, version: int, ordinal: int) -> np.void | None:
        """An ordinal's place in a version; None if it has none."""
        size = COLUMN.itemsize
        column = self._keys.dataset(dataset.uid).column(version)
        raw = cast("bytes", self._client.getrange(column, ordinal * size, (ordinal + 1) * size - 1))
        if len(raw) != size or raw[0] == 0:
            return None
        return cast("np.void", np.frombuffer(raw, dtype=COLUMN)[0])

    def column(self, dataset: Dataset, version: int) -> NDArray[np.void]:
        """The whole column of a version, by ordinal."""
        raw = cast("bytes | None", self._client.get(self._keys.dataset(dataset.uid).column(version)))
        return np.frombuffer(raw or b"", dtype=COLUMN)

    def rows(self, dataset: Dataset, version: int, set_name: SetName) -> int:
        """How many rows the set has, members that are void by now included."""
        return (
            self._client.strlen(self._keys.dataset(dataset.uid).members(version, set_name)) // MEMBER.itemsize
        )

    def members(
        self, dataset: Dataset, version: int, set_name: SetName, first: int, last: int
    ) -> list[Member]:
        """The valid members among rows `first` … `last` (inclusive) of the set's order."""
        keys = self._keys.dataset(dataset.uid)
        raw = cast(
            "list[bytes]",
            self._scripts.run(
                "set_rows",
                [keys.members(version, set_name)],
                [keys.names_prefix(), NAMES_PER_BUCKET, first, last],
            ),
        )
        rows = np.frombuffer(raw[0], dtype=MEMBER)
        return list(_valid_members(rows, raw[1:], first))

    def _numbers(self, dataset_uid: str) -> list[int]:
        keys = cast("list[bytes]", self._client.hkeys(self._keys.dataset(dataset_uid).versions))
        return [int(key) for key in keys if b":" not in key]

    def _drop_old(self, dataset_uid: str, current: int) -> None:
        keys = self._keys.dataset(dataset_uid)
        for old in self._numbers(dataset_uid):
            if old <= current - self._versions_kept:
                voids = (f"{old}:void:{CODE_BY_SET[name]}" for name in SetName)
                self._client.hdel(keys.versions, str(old), *voids)
                self._client.unlink(keys.column(old), *(keys.members(old, name) for name in SetName))


def _column(placement: Placement) -> bytes:
    size = int(placement.ordinals.max()) + 1 if len(placement.ordinals) else 0
    column = np.zeros(size, dtype=COLUMN)
    column["noise"] = np.nan
    cells = np.zeros(len(placement.ordinals), dtype=COLUMN)
    cells["set"], cells["reason"] = placement.sets, placement.reasons
    cells["noise"], cells["generation"] = placement.noise, placement.generations
    cells["rank"] = np.arange(len(cells))
    column[placement.ordinals] = cells
    return column.tobytes()


def _members(placement: Placement, chosen: NDArray[np.bool_]) -> bytes:
    rows = np.zeros(int(chosen.sum()), dtype=MEMBER)
    rows["ordinal"], rows["generation"] = placement.ordinals[chosen], placement.generations[chosen]
    rows["importance"] = placement.importance[chosen]
    rows["noise"] = placement.noise[chosen].astype(COLUMN["noise"])  # what the look-up of one sample shows
    rows["reason"] = placement.reasons[chosen]
    return rows.tobytes()


def _valid_members(rows: NDArray[np.void], names: Sequence[bytes], first: int) -> Iterator[Member]:
    for offset, (row, name) in enumerate(zip(rows, names, strict=True)):
        if not name:
            continue
        generation, sample_id = unpack_name(name)
        if generation != row["generation"]:
            continue
        noise = float(row["noise"])
        yield Member(
            row=first + offset,
            sample_id=sample_id,
            ordinal=int(row["ordinal"]),
            importance=float(row["importance"]),
            noise_probability=None if np.isnan(noise) else noise,
            reason=int(row["reason"]),
        )


def _without_void(version: SetVersion, raw: dict[bytes, bytes]) -> SetVersion:
    left = {
        name: size - int(raw.get(f"{version.version}:void:{CODE_BY_SET[name]}".encode(), 0))
        for name, size in version.sizes.items()
    }
    return version.model_copy(update={"sizes": left})
