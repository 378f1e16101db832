"""The verdicts in force, sample by sample, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.contracts import Dataset
from app.contracts.base import rfc3339
from app.services.reviews import shown_review
from app.store.review_log import standing
from app.store.state import State

ROWS_A_CALL = 500
FIELDS = ("id", "verdict", "label", "new_label", "created_at", "sequence")
_PLAIN = ["generation", "id"]


def verdicts(state: State, dataset: Dataset, *, texts: bool = False) -> Iterator[list[dict[str, Any]]]:
    """By ordinal; each with the sample's texts where they are wanted."""
    ordinals = state.reviews.in_force(dataset).ordinals.tolist()
    columns = [*_PLAIN, "text", "text_pair"] if texts else _PLAIN
    for start in range(0, len(ordinals), ROWS_A_CALL):
        some = ordinals[start : start + ROWS_A_CALL]
        rows = state.samples.by_ordinals(dataset, some, columns)
        histories = state.reviews.of_samples(dataset, some)
        batch = []
        for ordinal in some:
            row, held = rows.get(ordinal), standing(histories.get(ordinal, ()))
            if row is None or held is None or held.generation != row["generation"]:
                continue
            review = shown_review(held.review)
            told = {name: review[name] for name in FIELDS} | {"created_at": rfc3339(review["created_at"])}
            batch.append(told | ({"text": row["text"], "text_pair": row["text_pair"]} if texts else {}))
        yield batch
