"""Between two set versions: how many samples went from which set to which, and who they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, REASONS, SET_BY_CODE, UNSCORED, Dataset
from app.errors import Invalid, NotFound
from app.services.cursors import Position, decode_cursor, encode_cursor
from app.services.samples import SetFilter
from app.store.state import State

SETS = len(SET_BY_CODE)
IDS_A_CALL = 500


class MoveCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    older: Position
    newer: Position
    from_set: str | None
    to_set: str | None
    at: Position
    """The ordinal that the next page begins with."""


@dataclass(frozen=True)
class Compared:
    """Two versions, and which moves are asked for; without sets: all in which they differ."""

    older: int
    newer: int
    from_set: SetFilter | None = None
    to_set: SetFilter | None = None

    def cursor(self, at: int) -> MoveCursor:
        return MoveCursor(self.older, self.newer, self.from_set, self.to_set, at)

    def wanted(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) of pairs of set codes. A set that is named on both sides is that of those who stayed."""
        stayed = self.from_set is not None and self.from_set == self.to_set
        wanted: NDArray[np.bool_] = before == after if stayed else before != after
        if self.from_set is not None:
            wanted &= before == CODE_BY_SET[self.from_set]
        if self.to_set is not None:
            wanted &= after == CODE_BY_SET[self.to_set]
        return wanted


def compared(
    state: State,
    dataset: Dataset,
    older: int | None,
    newer: int | None,
    from_set: SetFilter | None = None,
    to_set: SetFilter | None = None,
) -> Compared:
    """Without numbers: the current version, and the one before it that is kept.

    Raises:
        NotFound: there is no such version, or none before it.
    """
    after = state.sets.version(dataset, newer).version
    if older is None:
        kept = [number for number in state.sets.numbers(dataset) if number < after]
        if not kept:
            raise NotFound("unknown_version", f"{dataset.name!r} keeps no set version before {after}")
        older = max(kept)
    return Compared(state.sets.version(dataset, older).version, after, from_set, to_set)


def moves(state: State, dataset: Dataset, asked: Compared, limit: int, cursor: str | None) -> dict[str, Any]:
    """One page by ordinal; the counts are part of the first one.

    Raises:
        Invalid: the cursor belongs to another question.
    """
    at = 0
    if cursor is not None:
        position = decode_cursor(cursor, MoveCursor)
        if msgspec.structs.replace(position, at=0) != asked.cursor(0):
            raise Invalid("invalid_cursor", "the cursor belongs to other versions or sets")
        at = position.at
    items, following = _page(state, dataset, asked, at, limit)
    return {
        "from": asked.older,
        "to": asked.newer,
        "counts": _counts(state, dataset, asked) if cursor is None else None,
        "items": items,
        "next_cursor": None if following is None else encode_cursor(asked.cursor(following)),
    }


def _counts(state: State, dataset: Dataset, asked: Compared) -> dict[str, dict[str, int]]:
    """Of the samples that are there now."""
    total = state.datasets.next_ordinal(dataset)
    there = np.zeros(total, np.bool_)
    for batch in state.samples.batches(dataset, ["ordinal"]):
        ordinals = batch["ordinal"].to_numpy()
        there[ordinals[ordinals < total]] = True
    counts = np.zeros(SETS * SETS, np.int64)
    for first, before, after in _chunks(state, dataset, asked, 0, total):
        pairs = before["set"].astype(np.int64) * SETS + after["set"]
        counts += np.bincount(pairs[there[first : first + len(pairs)]], minlength=SETS * SETS)
    table = counts.reshape(SETS, SETS).tolist()
    names = SET_BY_CODE.items()
    return {before: {after: table[row][column] for column, after in names} for row, before in names}


def _page(
    state: State, dataset: Dataset, asked: Compared, at: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The moves from this ordinal on, and the ordinal that a further page begins with."""
    items: list[dict[str, Any]] = []
    total = state.datasets.next_ordinal(dataset)
    for first, before, after in _chunks(state, dataset, asked, at, total):
        rows = np.flatnonzero(asked.wanted(before["set"], after["set"]))
        rows = rows[rows + first >= at]
        for start in range(0, len(rows), IDS_A_CALL):
            some = rows[start : start + IDS_A_CALL]
            held = state.ids.names(dataset, (some + first).tolist())
            for row, entry in zip(some.tolist(), held, strict=True):
                if entry is None:
                    continue
                if len(items) == limit:
                    return items, first + row
                items.append(_move(*entry, before[row], after[row]))
    return items, None


def _chunks(
    state: State, dataset: Dataset, asked: Compared, at: int, total: int
) -> Iterator[tuple[int, NDArray[np.void], NDArray[np.void]]]:
    """The cells of both versions, side by side, and the ordinal of the first ones."""
    sides = [state.sets.column_chunks(dataset, version, at, total) for version in (asked.older, asked.newer)]
    for (first, before), (_, after) in zip(*sides, strict=True):
        yield first, before, after


def _move(generation: int, sample_id: str, before: np.void, after: np.void) -> dict[str, Any]:
    """Args: generation: the present one, which counts where the newer version does not have the sample."""
    shown = after if after["set"] else before
    newer = int(after["generation"]) if after["set"] else generation
    return {
        "id": sample_id,
        "from": _place(before),
        "to": _place(after),
        "importance": float(shown["importance"]) if shown["set"] else None,
        "changed": bool(before["set"]) and newer != int(before["generation"]),
    }


def _place(cell: np.void) -> dict[str, str]:
    if not cell["set"]:
        return {"set": UNSCORED, "reason": UNSCORED}
    return {"set": SET_BY_CODE[int(cell["set"])], "reason": REASONS[int(cell["reason"])]}
