"""The verdicts in force, of a whole dataset at once, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.contracts import Verdict
from app.store.review_log import UNDO, VERDICT_CODES, Review, standing

NO_VERDICT = 0


@dataclass(frozen=True)
class Verdicts:
    """Arrays (n,) by ordinal: of each sample, the last verdict that was not taken back.

    ordinals
    generations     of the content that the verdict holds for: the judged one, or, where the verdict replaced
                    the label, the content with the new label. It is in force while the sample has that
                    generation, and void, like a score, when it has another one
    codes           `app.store.review_log.VERDICT_CODES`
    labels_before   canonical text of the label that was judged
    labels_after    that of the label that replaced it, which counts as confirmed; None where it stayed
    """

    ordinals: NDArray[np.int64]
    generations: NDArray[np.uint32]
    codes: NDArray[np.uint8]
    labels_before: NDArray[np.object_]
    labels_after: NDArray[np.object_]

    def of(self, ordinals: NDArray[np.int64], generations: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """What the reviewers say of the labels of these contents, (m,): a verdict's code, or `NO_VERDICT`.

        A label that came from a reviewer is correct, though the verdict which brought it says "wrong" of the
        label before.
        """
        told = np.full(len(ordinals), NO_VERDICT, dtype=np.uint8)
        if not len(self.ordinals):
            return told
        replaced = self.labels_after != None  # noqa: E711  (by element)
        codes = np.where(replaced, VERDICT_CODES[Verdict.CORRECT], self.codes).astype(np.uint8)
        at = np.minimum(np.searchsorted(self.ordinals, ordinals), len(self.ordinals) - 1)
        hit = (self.ordinals[at] == ordinals) & (self.generations[at] == generations)
        told[hit] = codes[at[hit]]
        return told


def no_verdicts() -> Verdicts:
    none = np.zeros(0, dtype=np.int64)
    texts = np.zeros(0, dtype=object)
    return Verdicts(none, none.astype(np.uint32), none.astype(np.uint8), texts, texts)


def verdicts_in_force(reviews: pa.Table) -> Verdicts:
    """`app.store.review_log.standing` of every sample. Reviews of deleted samples (label null) are left out
    by the caller."""
    reviews = reviews.sort_by([("ordinal", "ascending"), ("sequence", "ascending")])
    ordinals = reviews["ordinal"].to_numpy()
    codes = reviews["verdict"].to_numpy()
    undone = np.isin(ordinals, ordinals[codes == UNDO])
    last = np.append(ordinals[1:] != ordinals[:-1], True) if len(ordinals) else np.zeros(0, dtype=bool)
    plain = np.flatnonzero(last & ~undone)
    chosen, again = _with_undone(reviews.filter(pa.array(undone)), np.flatnonzero(undone))
    rows = np.concatenate([plain, chosen])
    taken = reviews.take(pa.array(rows))
    after = taken["new_label"].to_numpy()
    generations = taken["generation"].to_numpy() + (after != None)  # noqa: E711  (by element)
    generations[len(plain) :] = again
    order = np.argsort(ordinals[rows])
    return Verdicts(
        ordinals=ordinals[rows][order],
        generations=generations[order].astype(np.uint32),
        codes=codes[rows][order],
        labels_before=taken["label"].to_numpy()[order],
        labels_after=after[order],
    )


def _with_undone(reviews: pa.Table, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of samples with an undone verdict, one by one: which of the rows stands, and the generation it holds
    for."""
    held = [Review.of(row) for row in reviews.to_pylist()]
    row_of = {review.sequence: row for review, row in zip(held, rows.tolist(), strict=True)}
    found = [standing(list(own)) for _, own in groupby(held, key=lambda review: review.ordinal)]
    left = [one for one in found if one is not None]
    chosen = [row_of[one.review.sequence] for one in left]
    return np.array(chosen, dtype=np.int64), np.array([one.generation for one in left], dtype=np.int64)
