"""One review as it is kept, and what a sample's reviews come to.

Reviews are a log: a verdict is a row, taking it back is another one, and no row is ever taken out. A review
that gives a sample another label names both, and the generation that the sample had: once the label is
replaced, its generation is one higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from app.contracts import Verdict
from app.store.samples import StoredLabel

SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),  # 1, 2, 3 …: as many as there are rows
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("generation", pa.int64(), nullable=False),  # of the content that was judged
        pa.field("verdict", pa.uint8(), nullable=False),
        pa.field("undoes", pa.int64()),  # the sequence number of the verdict that this row takes back
        # What is text goes with the sample; the label of a sample that is there is never null.
        pa.field("id", pa.string()),
        pa.field("label", pa.string()),  # as in the samples: canonical text, and whether it was a number
        pa.field("label_number", pa.bool_(), nullable=False),
        pa.field("new_label", pa.string()),  # null: the label stayed
        pa.field("new_label_number", pa.bool_(), nullable=False),
    ]
)
UNDO = 0
VERDICT_CODES = {Verdict.CORRECT: 1, Verdict.WRONG: 2, Verdict.UNSURE: 3}
"""Stored codes: append only."""
VERDICTS = {code: verdict for verdict, code in VERDICT_CODES.items()}
WITHOUT_TEXT = {
    "id": None,
    "label": None,
    "label_number": False,
    "new_label": None,
    "new_label_number": False,
}
"""What is left of a review when its sample is deleted."""


@dataclass(frozen=True)
class Review:
    """`verdict` None: it takes back the verdict numbered `undoes`. Texts are None once the sample is gone."""

    created_at: datetime
    ordinal: int
    generation: int
    verdict: Verdict | None
    sample_id: str | None
    label: StoredLabel | None
    new_label: StoredLabel | None = None
    undoes: int | None = None
    sequence: int = 0

    def row(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "created_at": self.created_at,
            "ordinal": self.ordinal,
            "generation": self.generation,
            "verdict": UNDO if self.verdict is None else VERDICT_CODES[self.verdict],
            "undoes": self.undoes,
            "id": self.sample_id,
            "label": None if self.label is None else self.label.text,
            "label_number": self.label is not None and self.label.number,
            "new_label": None if self.new_label is None else self.new_label.text,
            "new_label_number": self.new_label is not None and self.new_label.number,
        }

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Review:
        return cls(
            created_at=row["created_at"],
            ordinal=row["ordinal"],
            generation=row["generation"],
            verdict=VERDICTS.get(row["verdict"]),
            sample_id=row["id"],
            label=_label(row["label"], row["label_number"]),
            new_label=_label(row["new_label"], row["new_label_number"]),
            undoes=row["undoes"],
            sequence=row["sequence"],
        )


@dataclass(frozen=True)
class Standing:
    """A verdict that was not taken back, and the generation of the content that it holds for: that which was
    judged, or the one that it made by another label."""

    review: Review
    generation: int


def standing(reviews: Iterable[Review]) -> Standing | None:
    """The last verdict of one sample's reviews (oldest first) that was not taken back.

    Taking back a verdict that had replaced the label may put the old label back. The content is then what it
    was before, in a new generation: verdicts on it hold again.
    """
    held: list[Standing] = []
    for review in reviews:
        if review.verdict is not None:
            held.append(Standing(review, review.generation + (review.new_label is not None)))
        elif held and held[-1].review.sequence == review.undoes:
            taken = held.pop()
            if review.new_label is not None and review.generation == taken.generation:
                before, again = taken.review.generation, review.generation + 1
                held = [Standing(one.review, again) if one.generation == before else one for one in held]
    return held[-1] if held else None


def _label(text: str | None, number: bool) -> StoredLabel | None:
    return None if text is None else StoredLabel(text, number)
