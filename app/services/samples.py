"""Samples with their score and membership: one, or page by page through filters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, UNSCORED, Dataset, Split
from app.errors import Invalid
from app.services.cursors import decode_cursor, encode_cursor
from app.services.scores import present
from app.store.records import importance
from app.store.samples import StoredLabel, quoted
from app.store.sets import COLUMN
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

    @property
    def needs_scores(self) -> bool:
        return self.set is not None or self.min_importance is not None or self.order != "ordinal"

    def where(self) -> str | None:
        """The part that the sample store answers."""
        parts = []
        if self.split is not None:
            parts.append(f"split = {quoted(self.split.value)}")
        if self.label is not None:
            parts.append(f"label = {quoted(self.label)}")
        if self.q is not None:
            parts.append(f"contains(lower(text), {quoted(self.q.lower())})")
        return " AND ".join(parts) or None


class ListCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the next page starts: behind an ordinal, or at a position of the scored order of a version."""

    filters: str
    after: int
    version: int


def describe(state: State, dataset: Dataset, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sample rows as clients see them, with `score` and `membership`."""
    if not rows:
        return []
    looked_up = state.scores.lookup(dataset, [row["id"] for row in rows])
    described = []
    for row, found in zip(rows, looked_up.found, strict=True):
        if found is None:
            continue  # deleted between the two reads
        score = present(found, looked_up)
        version = None if score["set"] == UNSCORED or looked_up.version is None else looked_up.version.version
        described.append(
            {
                **_content(row),
                "score": score,
                "membership": {"set": score["set"], "version": version, "reason": score["reason"]},
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
    start = ListCursor(_digest(key), -1, dataset.set_version) if position is None else position
    rows, following = walk(state, dataset, filters, limit, start)
    return {
        "items": describe(state, dataset, rows),
        "next_cursor": None if following is None else encode_cursor(following),
    }


def _walk_stored(
    state: State, dataset: Dataset, filters: Filters, limit: int, start: ListCursor
) -> tuple[list[dict[str, Any]], ListCursor | None]:
    rows = state.samples.after(dataset, start.after, limit + 1, filters.where())
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, msgspec.structs.replace(start, after=rows[-1]["ordinal"])


def _walk_scored(
    state: State, dataset: Dataset, filters: Filters, limit: int, start: ListCursor
) -> tuple[list[dict[str, Any]], ListCursor | None]:
    ordinals = _scored_order(state, dataset, filters, start.version)
    rows: list[dict[str, Any]] = []
    at = start.after + 1
    while at < len(ordinals):
        chunk = [int(ordinal) for ordinal in ordinals[at : at + CHUNK]]
        stored = state.samples.by_ordinals(dataset, chunk, where=filters.where())
        for offset, ordinal in enumerate(chunk):
            if ordinal in stored and len(rows) == limit:
                return rows, msgspec.structs.replace(start, after=at + offset - 1)
            if ordinal in stored:
                rows.append(stored[ordinal])
        at += len(chunk)
    return rows, None


def _scored_order(state: State, dataset: Dataset, filters: Filters, version: int) -> NDArray[np.int64]:
    """Ordinals that pass the score filters, in the order asked; unscored ones last."""
    total = state.datasets.next_ordinal(dataset)
    column = np.zeros(total, dtype=COLUMN)
    if version:
        held = state.sets.column(dataset, version)[:total]
        column[: len(held)] = held
    values = np.full(total, np.nan)
    generations = np.zeros(total, dtype=np.uint32)
    if dataset.lineage is not None:
        records = state.scores.read_all(dataset.uid, dataset.lineage, total)
        values, generations = importance(records), records["generation"]
    current = _generations(state, dataset, total)
    values[generations != current] = np.nan
    column["set"][column["generation"] != current] = 0
    keep = np.ones(total, dtype=bool)
    if filters.set is not None:
        keep &= column["set"] == CODE_BY_SET[filters.set]
    if filters.min_importance is not None:
        keep &= np.nan_to_num(values, nan=-1.0) >= filters.min_importance
    chosen = np.flatnonzero(keep)
    keys: dict[str, Callable[[], NDArray[np.float64]]] = {
        "ordinal": lambda: chosen.astype(np.float64),
        "importance": lambda: np.nan_to_num(values[chosen], nan=np.inf),
        "-importance": lambda: np.nan_to_num(-values[chosen], nan=np.inf),
    }
    return chosen[np.argsort(keys[filters.order](), kind="stable")]


def _generations(state: State, dataset: Dataset, total: int) -> NDArray[np.uint32]:
    """The present generation of every ordinal."""
    generations = np.zeros(total, dtype=np.uint32)
    table = state.samples.table(dataset).to_table(columns=["ordinal", "generation"])
    ordinals = table["ordinal"].to_numpy()
    inside = ordinals < total
    generations[ordinals[inside]] = table["generation"].to_numpy()[inside]
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
