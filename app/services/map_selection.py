"""Points of a data map: which of them pass a filter, and what stands behind some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.contracts import CODE_BY_SET, REASONS, SET_BY_CODE, UNSCORED, Dataset
from app.services.samples import Filters
from app.store.samples import StoredLabel
from app.store.state import State

PREVIEW_CHARACTERS = 200
ORDINALS_A_CALL = 500


def matching_ordinals(state: State, dataset: Dataset, filters: Filters, version: int | None) -> bytes:
    """The ordinals of all samples that pass, ascending, as little-endian uint32.

    Raises:
        NotFound: the version is not kept.
    """
    found = [np.zeros(0, np.int64)]
    generations = [np.zeros(0, np.uint32)]
    for batch in state.samples.batches(dataset, ["ordinal", "generation"], filters.where()):
        found.append(batch["ordinal"].to_numpy())
        generations.append(batch["generation"].to_numpy().astype(np.uint32))
    ordinals, generation = np.concatenate(found), np.concatenate(generations)
    if filters.set is not None:
        placed = np.full(len(ordinals), CODE_BY_SET[UNSCORED], np.uint8)
        if version is not None or dataset.set_version:
            column = state.sets.column(dataset, state.sets.version(dataset, version).version)
            inside = ordinals < len(column)
            cells = column[ordinals[inside]]
            placed[inside] = np.where(cells["generation"] == generation[inside], cells["set"], 0)
        ordinals = ordinals[placed == CODE_BY_SET[filters.set]]
    return np.sort(ordinals).astype("<u4").tobytes()


def points(state: State, dataset: Dataset, ordinals: Sequence[int]) -> list[dict[str, Any]]:
    """The samples at these ordinals, in the order asked; those that are gone are left out."""
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(ordinals), ORDINALS_A_CALL):
        some = state.samples.previews(dataset, ordinals[start : start + ORDINALS_A_CALL], PREVIEW_CHARACTERS)
        ids = [row["id"] for row in some.values()]
        values = state.scores.lookup(dataset, ids).values() if ids else []
        for (ordinal, row), held in zip(some.items(), values, strict=True):
            if held is not None:
                found[ordinal] = _point(row, set_code=held[15], reason=held[16])
    return [found[ordinal] for ordinal in ordinals if ordinal in found]


def _point(row: dict[str, Any], *, set_code: int, reason: int) -> dict[str, Any]:
    label = None if row["label"] is None else StoredLabel(row["label"], row["label_number"]).value()
    return {
        "ordinal": row["ordinal"],
        "id": row["id"],
        "text": row["text"],
        "label": label,
        "split": row["split"],
        "set": SET_BY_CODE[set_code],
        "reason": REASONS[reason] if set_code else UNSCORED,
    }
