"""Pages of a set, membership, and exports in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from app.contracts import CODE_BY_SET, REASONS, SET_BY_CODE, UNSCORED, Dataset, SetName, SetVersion
from app.errors import Invalid, NotFound
from app.services.cursors import Position, decode_cursor, encode_cursor
from app.services.scores import present
from app.store.samples import StoredLabel
from app.store.sets import Member
from app.store.state import State

Order = Literal["-importance", "importance"]
EXPORT_ROWS = 1_000
Column = Literal["text", "label", "score"]


class PageCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Position
    set: str
    order: str
    next_row: Position


def page(
    state: State,
    dataset: Dataset,
    set_name: SetName,
    *,
    version: int | None,
    order: Order,
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    """One page of a set version; a cursor stays on its version while newer ones come."""
    position = None if cursor is None else decode_cursor(cursor, PageCursor)
    if position is not None:
        if position.set != set_name or position.order != order or version not in (None, position.version):
            raise Invalid("invalid_cursor", "the cursor belongs to another set, order or version")
        version = position.version
    held, rows_of = state.sets.version_and_rows(dataset, version)
    rows = rows_of[set_name]
    start = 0 if position is None else position.next_row
    if start > rows:
        raise Invalid("invalid_cursor", "the cursor points outside the set")
    items, next_row = _collect(state, dataset, held, set_name, order, start, rows, limit)
    following = PageCursor(version=held.version, set=set_name.value, order=order, next_row=next_row)
    return {
        "version": held.version,
        "total": held.sizes[set_name.value],
        "items": [
            {
                "id": member.sample_id,
                "importance": member.importance,
                "noise_probability": member.noise_probability,
                "reason": REASONS[member.reason],
            }
            for member in items
        ],
        "next_cursor": encode_cursor(following) if next_row < rows else None,
    }


def _collect(
    state: State,
    dataset: Dataset,
    version: SetVersion,
    set_name: SetName,
    order: Order,
    start: int,
    rows: int,
    limit: int,
) -> tuple[list[Member], int]:
    """Up to `limit` valid members from position `start` of the order, and the position after the last one."""
    items: list[Member] = []
    at = start
    while len(items) < limit and at < rows:
        count = min(limit - len(items), rows - at)
        if order == "-importance":
            items += state.sets.members(dataset, version.version, set_name, at, at + count - 1)
        else:
            found = state.sets.members(dataset, version.version, set_name, rows - at - count, rows - at - 1)
            items += reversed(found)
        at += count
    return items, at


def member(
    state: State, dataset: Dataset, set_name: SetName, sample_id: str, version: int | None
) -> dict[str, Any]:
    """Whether a sample is in a set, and where it is otherwise.

    Raises:
        NotFound: unknown sample or version.
    """
    entry = state.ids.find(dataset, sample_id)
    if entry is None:
        raise NotFound("unknown_sample", f"dataset {dataset.name!r} has no sample {sample_id!r}")
    if version is None and dataset.set_version == 0:
        return {"member": False, "set": UNSCORED, "version": None, "reason": UNSCORED}
    held = state.sets.version(dataset, version)
    cell = state.sets.cell(dataset, held.version, entry.ordinal)
    if cell is not None and cell.generation != entry.generation:
        cell = None
    code = CODE_BY_SET[UNSCORED] if cell is None else cell.set
    return {
        "member": code == CODE_BY_SET[set_name],
        "set": SET_BY_CODE[code],
        "version": held.version,
        "reason": UNSCORED if cell is None else REASONS[cell.reason],
    }


def export_rows(
    state: State, dataset: Dataset, set_name: SetName, version: SetVersion, include: frozenset[Column]
) -> Iterator[list[dict[str, Any]]]:
    """The set's valid members in batches, by importance descending."""
    rows = state.sets.rows(dataset, version.version, set_name)
    for first in range(0, rows, EXPORT_ROWS):
        members = state.sets.members(
            dataset, version.version, set_name, first, min(first + EXPORT_ROWS, rows) - 1
        )
        yield _with_columns(state, dataset, members, include)


def _with_columns(
    state: State, dataset: Dataset, members: list[Member], include: frozenset[Column]
) -> list[dict[str, Any]]:
    wants_sample = bool(include & {"text", "label"})
    texts = state.samples.by_ordinals(dataset, [m.ordinal for m in members]) if wants_sample else {}
    looked_up = state.scores.lookup(dataset, [m.sample_id for m in members]) if "score" in include else None
    batch: list[dict[str, Any]] = []
    for position, one in enumerate(members):
        row: dict[str, Any] = {
            "id": one.sample_id,
            "importance": one.importance,
            "noise_probability": one.noise_probability,
            "reason": REASONS[one.reason],
        }
        sample = texts.get(one.ordinal)
        if wants_sample and sample is None:
            continue  # deleted between the two reads
        if "text" in include and sample is not None:
            row |= {"text": sample["text"], "text_pair": sample["text_pair"]}
        if "label" in include and sample is not None:
            known = sample["label"] is not None
            row["label"] = StoredLabel(sample["label"], sample["label_number"]).value() if known else None
        if looked_up is not None:
            found = looked_up.found[position]
            row["score"] = None if found is None else present(found, looked_up)
        batch.append(row)
    return batch
