"""Review verdicts: one more, the last one taken back, those of a sample, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.contracts import Dataset, Label, Verdict, now
from app.errors import Invalid, NotFound
from app.ingest.rows import LabelReader, RowError, SampleRow
from app.services.cursors import Position, decode_cursor, encode_cursor
from app.services.datasets import find_sample
from app.store.layout import GENERATIONS
from app.store.review_log import Review, Standing, standing
from app.store.samples import StoredLabel
from app.store.state import State
from app.store.unfinished import complete_write, writing_samples

UNDO = "undo"


class ReviewCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: Position


def add_review(
    state: State, dataset: Dataset, sample_id: str, verdict: Verdict, label: Label | None
) -> Review:
    """Records a verdict on the sample as it is; with "wrong", another label replaces the present one.

    A verdict that is in force already is not recorded again: its review is answered.

    Raises:
        NotFound: there is no such sample.
        Invalid: the sample has no label, or `label` is none of the dataset's or contradicts the verdict.
        Conflict: another writer held the dataset for too long.
    """
    since = state.durability.incarnation()
    wanted = None if label is None else _checked_label(dataset, sample_id, label)
    with writing_samples(state, dataset):
        row = find_sample(state, dataset, sample_id)
        present = present_label(row)
        if present is None:
            raise Invalid("no_label", f"sample {sample_id!r} has no label that could be judged")
        held = standing(state.reviews.of_sample(dataset, row["ordinal"]))
        if held is not None and held.generation == row["generation"]:
            asked = wanted if verdict is Verdict.WRONG else _other(wanted, present)
            if held.review.verdict is verdict and _text(held.review.new_label) == _text(asked):
                return held.review
        made = Review(
            created_at=now(),
            ordinal=row["ordinal"],
            generation=row["generation"],
            verdict=verdict,
            sample_id=sample_id,
            label=present,
            new_label=_replacement(verdict, wanted, present),
        )
        return _record(state, dataset, made, since)


def take_back(state: State, dataset: Dataset, sample_id: str) -> Review:
    """Takes back the sample's last verdict; a label that it brought, and that is still there, goes with it.

    Raises:
        NotFound: there is no such sample, or no verdict on it.
        Invalid: the dataset's labels have been fixed since, and the old one is none of them.
        Conflict: another writer held the dataset for too long.
    """
    since = state.durability.incarnation()
    with writing_samples(state, dataset):
        row = find_sample(state, dataset, sample_id)
        present = present_label(row)
        held = standing(state.reviews.of_sample(dataset, row["ordinal"]))
        if held is None:
            raise NotFound("no_review", f"sample {sample_id!r} has no verdict that could be taken back")
        brought, before = held.review.new_label, held.review.label
        put_back = None
        if brought is not None and before is not None and _text(present) == brought.text:
            put_back = _checked_label(dataset, sample_id, before.value())
        made = Review(
            created_at=now(),
            ordinal=row["ordinal"],
            generation=row["generation"],
            verdict=None,
            sample_id=sample_id,
            label=present,
            new_label=put_back,
            undoes=held.review.sequence,
        )
        return _record(state, dataset, made, since)


def _record(state: State, dataset: Dataset, made: Review, since: str | None) -> Review:
    """Stores a review, then the label that it brings (`app.store.unfinished` says why in this order).

    The label is put in place by what would finish the work of a writer that died in between: the one way that
    there is, so that it is also the one that is always tried.
    """
    if made.new_label is not None:
        refuse_change_too_many(made.generation)
    return record_all(state, dataset, [made], since)[0]


def record_all(state: State, dataset: Dataset, made: Sequence[Review], since: str | None) -> list[Review]:
    """`_record` for reviews of different samples, whose changes are none too many; the caller holds the write
    lock."""
    changed = [one.sample_id for one in made if one.new_label is not None and one.sample_id is not None]
    if not changed:
        return state.reviews.append_all(dataset, made) if made else []
    state.journal.begin(dataset.uid, changed)
    state.make_durable(since=since)
    stored = state.reviews.append_all(dataset, made)
    complete_write(state, dataset, changed, since=since)
    state.samples.compact_if_scattered(dataset)
    return stored


def refuse_change_too_many(generation: int) -> None:
    if generation + 1 == GENERATIONS:
        detail = f"the content of this sample has changed {generation} times, which is the most"
        raise Invalid("too_many_changes", detail)


def _replacement(verdict: Verdict, wanted: StoredLabel | None, present: StoredLabel) -> StoredLabel | None:
    other = _other(wanted, present)
    if other is not None and verdict is not Verdict.WRONG:
        detail = f"the verdict is {verdict.value!r}, but the label is {present.text!r}, not {other.text!r}"
    elif wanted is not None and other is None and verdict is Verdict.WRONG:
        detail = f"the verdict is 'wrong', but {present.text!r} is the label already"
    else:
        return other
    raise Invalid("contradictory_review", detail, errors=[{"pointer": "/label", "detail": detail}])


def _other(wanted: StoredLabel | None, present: StoredLabel) -> StoredLabel | None:
    """The wanted label, where it is another than the present one."""
    return None if wanted is None or wanted.text == present.text else wanted


def _text(label: StoredLabel | None) -> str | None:
    return None if label is None else label.text


def present_label(row: dict[str, Any]) -> StoredLabel | None:
    return None if row["label"] is None else StoredLabel(row["label"], row["label_number"])


def _checked_label(dataset: Dataset, sample_id: str, label: Label) -> StoredLabel | None:
    """A label as the dataset would store it with a sample."""
    try:
        return LabelReader(dataset).read(SampleRow(sample_id, "", label=label))
    except RowError as error:
        wrong = [{"pointer": "/label", "detail": error.detail}]
        raise Invalid(error.code, error.detail, errors=wrong) from error


# -- reading -------------------------------------------------------------------------------------------
def reviews_of(state: State, dataset: Dataset, sample_id: str) -> dict[str, Any]:
    """The verdict that is in force for the sample as it is, and every review of it.

    Raises:
        NotFound: there is no such sample.
    """
    row = find_sample(state, dataset, sample_id)
    history = state.reviews.of_sample(dataset, row["ordinal"])
    return {
        "id": sample_id,
        "in_force": _shown_standing(standing(history), row["generation"]),
        "history": [shown_review(review) for review in history],
    }


def _shown_standing(held: Standing | None, generation: int) -> dict[str, Any] | None:
    return shown_review(held.review) if held is not None and held.generation == generation else None


def list_reviews(state: State, dataset: Dataset, limit: int, cursor: str | None) -> dict[str, Any]:
    """One page of all reviews, oldest first; those that come meanwhile come after."""
    after = 0 if cursor is None else decode_cursor(cursor, ReviewCursor).after
    found = state.reviews.after(dataset, after, limit + 1)
    shown = found[:limit]
    more = encode_cursor(ReviewCursor(shown[-1].sequence)) if len(found) > limit else None
    return {"items": [shown_review(review) for review in shown], "next_cursor": more}


def shown_review(review: Review) -> dict[str, Any]:
    """A review as clients see it."""
    return {
        "sequence": review.sequence,
        "id": review.sample_id,
        "verdict": UNDO if review.verdict is None else review.verdict.value,
        "label": None if review.label is None else review.label.value(),
        "new_label": None if review.new_label is None else review.new_label.value(),
        "generation": review.generation,
        "undoes": review.undoes,
        "created_at": review.created_at,
    }
