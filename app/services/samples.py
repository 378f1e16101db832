"""Samples with their score and membership: one, or page by page through filters."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, UNSCORED, Dataset, Split
from app.contracts.flags import SampleFlag
from app.errors import Invalid
from app.services.cursors import Position, decode_cursor, encode_cursor
from app.services.flags import flagged, flags_of_rows
from app.services.scores import present
from app.store.records import importance
from app.store.samples import StoredLabel, quoted
from app.store.state import State

SetFilter = Literal["core", "edge", "noise", "unscored"]
Order = Literal["ordinal", "importance", "-importance"]
CHUNK = 512


@dataclass(frozen=True)
class Filters:
    set: SetFilter | None = None
    split: Split | None = None
    label: str | None = None
    q: str | None = None
    min_importance: float | None = None
    order: Order = "ordinal"
    flag: SampleFlag | None = None
    group: str | None = None

    @property
    def needs_scores(self) -> bool:
        """Or other columns that are kept by ordinal."""
        return self.by_importance or self.set is not None or self.flag is not None

    @property
    def by_importance(self) -> bool:
        return self.min_importance is not None or self.order != "ordinal"

    def where(self) -> str | None:
        """The part that the sample store answers."""
        parts = []
        if self.split is not None:
            parts.append(f"split = {quoted(self.split.value)}")
        if self.label is not None:
            parts.append(f"label = {quoted(self.label)}")
        if self.group is not None:
            parts.append(f"`group` = {quoted(self.group)}")
        if self.q is not None:
            parts.append(f"contains(lower(text), {quoted(self.q.lower())})")
        return " AND ".join(parts) or None


class ListCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the next page starts: the next row's sort key (None: unscored, the last ones) and its ordinal.

    Not a count of rows: a sample that changes between two pages must not shift the others.
    """

    filters: str
    version: Position
    at: Position
    key: float | None


def describe(state: State, dataset: Dataset, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sample rows as clients see them, with `score`, `membership` and `flags`."""
    if not rows:
        return []
    flags = flags_of_rows(state, dataset, rows)
    looked_up = state.scores.lookup(dataset, [row["id"] for row in rows])
    described = []
    for row, found, score in zip(rows, flags, present(looked_up), strict=True):
        if score is None:
            continue  # deleted between the two reads
        version = None if score["set"] == UNSCORED or looked_up.version is None else looked_up.version.version
        described.append(
            {
                **_content(row),
                "score": score,
                "membership": {"set": score["set"], "version": version, "reason": score["reason"]},
                "flags": found,
            }
        )
    return described


def list_samples(
    state: State, dataset: Dataset, filters: Filters, limit: int, cursor: str | None
) -> dict[str, Any]:
    """One page of the samples that pass the filters."""
    key = repr(filters)
    position = None if cursor is None else decode_cursor(cursor, ListCursor)
    if position is not None and position.filters != _digest(key):
        raise Invalid("invalid_cursor", "the cursor belongs to other filters")
    walk = _walk_scored if filters.needs_scores else _walk_stored
    start = ListCursor(_digest(key), dataset.set_version, 0, -math.inf) if position is None else position
    rows, following = walk(state, dataset, filters, limit, start)
    return {
        "items": describe(state, dataset, rows),
        "next_cursor": None if following is None else encode_cursor(following),
    }


def _walk_stored(
    state: State, dataset: Dataset, filters: Filters, limit: int, start: ListCursor
) -> tuple[list[dict[str, Any]], ListCursor | None]:
    rows = state.samples.from_ordinal(dataset, start.at, limit + 1, filters.where())
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, msgspec.structs.replace(start, at=rows[-1]["ordinal"] + 1)


def _walk_scored(
    state: State, dataset: Dataset, filters: Filters, limit: int, start: ListCursor
) -> tuple[list[dict[str, Any]], ListCursor | None]:
    ordinals, keys = _scored_order(state, dataset, filters, start)
    rows: list[dict[str, Any]] = []
    for first in range(0, len(ordinals), CHUNK):
        chunk = ordinals[first : first + CHUNK].tolist()
        stored = state.samples.by_ordinals(dataset, chunk, where=filters.where())
        for offset, ordinal in enumerate(chunk):
            if ordinal in stored and len(rows) == limit:
                key = float(keys[first + offset])
                return rows, msgspec.structs.replace(start, at=ordinal, key=None if key == math.inf else key)
            if ordinal in stored:
                rows.append(stored[ordinal])
    return rows, None


def _scored_order(
    state: State, dataset: Dataset, filters: Filters, start: ListCursor
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ordinals from `start` on that pass the score filters, in the order asked, and their sort keys."""
    total = state.datasets.next_ordinal(dataset)
    placed, column_generations = np.zeros(total, dtype=np.uint8), np.zeros(total, dtype=np.uint32)
    if start.version:
        held = state.sets.column(dataset, start.version)[:total]
        placed, column_generations = held["set"].copy(), held["generation"]
    values = np.full(total, np.nan)
    generations = np.zeros(total, dtype=np.uint32)
    if dataset.lineage is not None and filters.by_importance:
        records = state.scores.read_all(dataset.uid, dataset.lineage, total)
        values, generations = importance(records), records["generation"]
    current = _generations(state, dataset, total)
    values[generations != current] = np.nan
    placed[column_generations != current] = CODE_BY_SET[UNSCORED]
    keep = np.ones(total, dtype=bool)
    if filters.set is not None:
        keep &= placed == CODE_BY_SET[filters.set]
    if filters.min_importance is not None:
        keep &= np.nan_to_num(values, nan=-1.0) >= filters.min_importance
    if filters.flag is not None:
        keep &= flagged(state, dataset, filters.flag, current)
    keys = _sort_keys(values, filters.order)
    reached = math.inf if start.key is None else start.key
    keep &= (keys > reached) | ((keys == reached) & (np.arange(total) >= start.at))
    chosen = np.flatnonzero(keep)
    in_order = chosen[np.argsort(keys[chosen], kind="stable")]
    return in_order, keys[in_order]


def _sort_keys(values: NDArray[np.float64], order: Order) -> NDArray[np.float64]:
    """Ascending; equal keys go by ordinal, unscored samples last."""
    if order == "ordinal":
        return np.zeros(len(values))
    signed = values if order == "importance" else -values
    return np.where(np.isnan(signed), math.inf, signed)


def _generations(state: State, dataset: Dataset, total: int) -> NDArray[np.uint32]:
    """The present generation of every ordinal."""
    generations = np.zeros(total, dtype=np.uint32)
    ordinals, held = state.samples.generations(dataset)
    inside = ordinals < total
    generations[ordinals[inside]] = held[inside]
    return generations


def _content(row: dict[str, Any]) -> dict[str, Any]:
    label = None if row["label"] is None else StoredLabel(row["label"], row["label_number"]).value()
    return {
        "id": row["id"],
        "text": row["text"],
        "text_pair": row["text_pair"],
        "label": label,
        "group": row["group"],
        "split": row["split"],
        "weight": row["weight"],
        "meta": None if row["meta"] is None else json.loads(row["meta"]),
    }


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=6).hexdigest()
