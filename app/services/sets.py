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


class Item(msgspec.Struct, gc=False):
    """A member as a page shows it."""

    id: str
    importance: float
    noise_probability: float | None
    reason: str


class Page(msgspec.Struct, gc=False):
    version: int
    total: int
    items: list[Item]
    next_cursor: str | None


class _Walk:
    """Through the order of a set, from its start or from a cursor, until a page is full."""

    def __init__(
        self, set_name: SetName, version: int | None, order: Order, limit: int, cursor: str | None
    ) -> None:
        """Raises `Invalid("invalid_cursor")`."""
        self.version = version
        self._set_name, self._order, self._limit = set_name, order, limit
        self._at = 0
        self._items: list[Member] = []
        if cursor is not None:
            position = decode_cursor(cursor, PageCursor)
            if position.set != set_name or position.order != order or version not in (None, position.version):
                raise Invalid("invalid_cursor", "the cursor belongs to another set, order or version")
            self.version, self._at = position.version, position.next_row

    def begin(self, rows: int) -> None:
        """Args: rows: how many the set has, in the version of the walk."""
        if self._at > rows:
            raise Invalid("invalid_cursor", "the cursor points outside the set")
        self._rows = rows

    def next_rows(self) -> tuple[int, int] | None:
        """The first and the last of the rows to read next; None at the end, or with a page that is full."""
        count = min(self._limit - len(self._items), self._rows - self._at)
        if count <= 0:
            return None
        first = self._at if self._order == "-importance" else self._rows - self._at - count
        self._at += count
        return first, first + count - 1

    def take(self, members: list[Member]) -> None:
        self._items += members if self._order == "-importance" else reversed(members)

    def page(self, held: SetVersion) -> Page:
        name = self._set_name.value
        following = PageCursor(version=held.version, set=name, order=self._order, next_row=self._at)
        return Page(
            version=held.version,
            total=held.sizes[name],
            items=[
                Item(one.sample_id, one.importance, one.noise_probability, REASONS[one.reason])
                for one in self._items
            ],
            next_cursor=encode_cursor(following) if self._at < self._rows else None,
        )


def page(
    state: State,
    dataset: Dataset,
    set_name: SetName,
    *,
    version: int | None,
    order: Order,
    limit: int,
    cursor: str | None,
) -> Page:
    """One page of a set version; a cursor stays on its version while newer ones come."""
    walk = _Walk(set_name, version, order, limit, cursor)
    held, rows_of = state.sets.version_and_rows(dataset, walk.version)
    walk.begin(rows_of[set_name])
    while (rows := walk.next_rows()) is not None:
        walk.take(state.sets.members(dataset, held.version, set_name, *rows))
    return walk.page(held)


async def page_json(
    state: State,
    dataset_name: str,
    set_name: SetName,
    *,
    version: int | None,
    order: Order,
    limit: int,
    cursor: str | None,
) -> bytes | None:
    """`page` as JSON, on the event loop; None for whatever is no success."""
    try:
        walk = _Walk(set_name, version, order, limit, cursor)
        opened = await state.pages.open(dataset_name, walk.version)
        if opened is None:
            return None
        walk.begin(opened.rows[set_name])
    except Invalid:
        return None
    while (rows := walk.next_rows()) is not None:
        walk.take(await state.pages.members(opened, set_name, *rows))
    return msgspec.json.encode(walk.page(opened.held))


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
    ids = [m.sample_id for m in members]
    scores = present(state.scores.lookup(dataset, ids)) if "score" in include else None
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
        if scores is not None:
            row["score"] = scores[position]
        batch.append(row)
    return batch
