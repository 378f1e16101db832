"""Reviews: against the stored samples, and against each other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.contracts import Dataset
from app.services.verify.findings import Finding, Findings, shortened
from app.store.review_log import UNDO, VERDICTS
from app.store.state import State

Mask = NDArray[np.bool_]


def check_reviews(state: State, dataset: Dataset) -> Findings:
    """Reviews are numbered without a gap, and belong to samples that are there; of samples that were there
    no text is left."""
    batches = list(state.reviews.scan(dataset))
    if not batches:
        return []
    reviews = pa.Table.from_batches(batches).sort_by("sequence")
    ordinals = reviews["ordinal"].to_numpy()
    judged = reviews["generation"].to_numpy()
    named = ~reviews["id"].is_null().to_numpy()
    given = state.datasets.next_ordinal(dataset)
    held, generations = state.samples.generations(dataset)
    generation = np.full(max(given, held.max(initial=-1) + 1, ordinals.max() + 1), -1, dtype=np.int64)
    generation[held] = generations
    never = (ordinals < 0) | (ordinals >= given)
    present = generation[np.maximum(ordinals, 0)]
    gone = ~never & (present < 0)
    return [
        *_told(dataset, reviews, never, "is of a sample that never was: its ordinal was not given yet"),
        *_told(dataset, reviews, gone & named, "still names its sample, which is deleted"),
        *_told(dataset, reviews, ~never & ~gone & ~named, "names no sample, though its sample is there"),
        *_told(dataset, reviews, ~never & ~gone & (judged > present), "is of content that is still to come"),
        *_told(dataset, reviews, _misnumbered(reviews), "is not numbered as it should be"),
        *_told(dataset, reviews, _undoing_nothing(reviews), "takes back what is no verdict on the sample"),
    ]


def _misnumbered(reviews: pa.Table) -> Mask:
    wrong: Mask = reviews["sequence"].to_numpy() != np.arange(1, len(reviews) + 1)
    return wrong


def _undoing_nothing(reviews: pa.Table) -> Mask:
    """Rows that are neither a verdict nor take back an earlier one of the same sample."""
    codes, ordinals = reviews["verdict"].to_numpy(), reviews["ordinal"].to_numpy()
    undoes = reviews["undoes"].fill_null(0).to_numpy()
    earlier = (undoes >= 1) & (undoes <= np.arange(len(reviews)))
    meant = np.where(earlier, undoes - 1, 0)
    right = earlier & (codes[meant] != UNDO) & (ordinals[meant] == ordinals)
    wrong: Mask = np.where(codes == UNDO, ~right, (undoes != 0) | ~np.isin(codes, list(VERDICTS)))
    return wrong


def _told(dataset: Dataset, reviews: pa.Table, wrong: Mask, detail: str) -> Findings:
    rows = reviews.filter(pa.array(wrong)).to_pylist()
    found = [
        Finding("reviews", f"review {row['sequence']} {detail}", dataset.name, sample=row["id"])
        for row in rows
    ]
    return shortened(found)
