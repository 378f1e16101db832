"""The rows whose verdict would teach most, of the present set version."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from app.contracts import CODE_BY_SET, REASONS, SET_BY_CODE, Dataset, Label, SetName
from app.services.ranked_versions import RankedVersion, RankedVersions
from app.services.review_ranking import alternating
from app.store.samples import StoredLabel
from app.store.sets import Placement
from app.store.state import State

ROWS_A_CALL = 1_000
SHOWN = ("generation", "id", "text", "text_pair", "label", "label_number")


def first_to_review(state: State, versions: RankedVersions, dataset: Dataset, limit: int) -> dict[str, Any]:
    """The first rows of the queue that nobody has reviewed.

    Raises:
        NotFound: there are no sets yet.
    """
    version, batches = queued(state, versions, dataset, limit)
    return {"version": version, "items": list(chain.from_iterable(batches))}


def queued(
    state: State, versions: RankedVersions, dataset: Dataset, limit: int, set_name: SetName | None = None
) -> tuple[int, Iterator[list[dict[str, Any]]]]:
    """The set version, and up to `limit` rows of its queue, of one set or of all, in batches.

    Raises:
        NotFound: there are no sets yet.
    """
    version = state.sets.version(dataset, None).version
    ranked = versions.of(state, dataset, version)
    skipped = ranked.reviewed(state.reviews.in_force(dataset))
    if set_name is not None:
        skipped |= ranked.members.sets != CODE_BY_SET[set_name]
    return version, _batches(state, dataset, ranked, alternating(ranked.orders, skipped), limit)


def _batches(
    state: State, dataset: Dataset, ranked: RankedVersion, queue: Iterator[int], limit: int
) -> Iterator[list[dict[str, Any]]]:
    left = limit
    while some := list(islice(queue, min(left, ROWS_A_CALL))):
        shown = _shown(state, dataset, ranked.members, some)
        left -= len(shown)
        yield shown


def _shown(state: State, dataset: Dataset, members: Placement, positions: list[int]) -> list[dict[str, Any]]:
    """The rows at these positions, without those whose content has changed or is gone."""
    ordinals = members.ordinals[positions].tolist()
    rows = state.samples.by_ordinals(dataset, ordinals, SHOWN)
    shown = []
    for position, ordinal in zip(positions, ordinals, strict=True):
        row = rows.get(ordinal)
        if row is None or row["generation"] != members.generations[position]:
            continue
        noise = float(members.noise[position])
        shown.append(
            {
                "id": row["id"],
                "text": row["text"],
                "text_pair": row["text_pair"],
                "label": StoredLabel(row["label"], row["label_number"]).value(),
                "suggested_label": class_label(dataset, int(members.suggested[position])),
                "noise_probability": None if np.isnan(noise) else noise,
                "set": SET_BY_CODE[int(members.sets[position])],
                "reason": REASONS[int(members.reasons[position])],
                "importance": float(members.importance[position]),
            }
        )
    return shown


def class_label(dataset: Dataset, index: int) -> Label | None:
    labels = dataset.labels or ()
    return labels[index] if 0 <= index < len(labels) else None
