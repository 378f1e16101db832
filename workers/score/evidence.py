"""What is known of a job's samples, as the policies take it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.contracts import Dataset, Verdict
from app.store.review_log import VERDICT_CODES
from app.store.state import State
from models.noise import Reviewed
from models.selection import Evidence
from workers.score.seen import Seen

Ints = NDArray[np.int64]


def evidence_of(
    ids: list[str],
    labels: Ints,
    texts: Sequence[tuple[str, str | None]],
    groups: Sequence[str | None],
    importance: NDArray[np.float64],
    seen: Seen,
    where: Ints,
) -> Evidence:
    """Of n samples that are the job's number `where` (n,)."""
    codes: dict[tuple[str, str | None], int] = {}
    return Evidence(
        ids=ids,
        labels=labels,
        classes=len(seen.classes),
        importance=importance,
        groups=_codes(groups),
        texts=np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.int64),
        embedding=None if seen.embedding is None else seen.embedding[where],
    )


def reviewed_of(
    state: State, dataset: Dataset, ordinals: Ints, generations: NDArray[np.uint32]
) -> Reviewed | None:
    """The verdicts in force on these samples' present labels; `unsure` says nothing."""
    codes = state.reviews.in_force(dataset).of(ordinals, generations)
    told = np.flatnonzero((codes == VERDICT_CODES[Verdict.CORRECT]) | (codes == VERDICT_CODES[Verdict.WRONG]))
    return Reviewed(told, codes[told] == VERDICT_CODES[Verdict.WRONG]) if len(told) else None


def _codes(groups: Sequence[str | None]) -> Ints | None:
    """A number for each group, None where there are none; a sample without one is a group of its own."""
    if all(group is None for group in groups):
        return None
    codes: dict[str | int, int] = {}
    named = (index if group is None else group for index, group in enumerate(groups))
    return np.array([codes.setdefault(name, len(codes)) for name in named], dtype=np.int64)
