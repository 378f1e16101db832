"""Annotations that come back from Label Studio, as reviews."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from app.contracts import Dataset, Verdict, now
from app.errors import GradSiftError, Invalid, NotFound
from app.ingest.rows import LabelReader, RowError, SampleRow
from app.services.annotations import Judged, read_task, read_tasks
from app.services.label_studio import choices
from app.services.reviews import present_label, record_all, refuse_change_too_many
from app.store.review_log import Review, standing
from app.store.samples import StoredLabel
from app.store.state import State
from app.store.unfinished import writing_samples

ROWS_A_WRITE = 500
REJECTED_SHOWN = 10_000
_COLUMNS = ["generation", "label", "label_number"]
Outcome = Literal["correct", "wrong", "unchanged", "skipped"]


@dataclass
class ImportReport:
    received: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    rejected_total: int = 0

    def reject(self, index: int, sample_id: str | None, code: str, detail: str) -> None:
        self.rejected_total += 1
        if len(self.rejected) < REJECTED_SHOWN:
            self.rejected.append({"index": index, "id": sample_id, "code": code, "detail": detail})


def import_annotations(state: State, dataset: Dataset, body: bytes) -> ImportReport:
    """Records what the tasks of Label Studio's JSON export say; a task that nobody has annotated is skipped.

    The label that was chosen confirms the sample's (`correct`) or replaces it (`wrong`). An annotation that
    is older than the last review of its sample changes nothing, nor does one that says what is in force.

    Raises:
        Malformed, Invalid: the body is no list of tasks.
        Conflict: another writer held the dataset for too long; the batches before are recorded.
    """
    report = ImportReport()
    judged = sorted(_judged(state, dataset, read_tasks(body), report), key=lambda one: one.index)
    for start in range(0, len(judged), ROWS_A_WRITE):
        _record(state, dataset, judged[start : start + ROWS_A_WRITE], report)
    report.rejected.sort(key=lambda row: row["index"])
    return report


def _judged(
    state: State, dataset: Dataset, tasks: Sequence[msgspec.Raw], report: ImportReport
) -> Iterator[Judged]:
    """Of each sample one, the newest; those that cannot be read are told."""
    named = {choice: StoredLabel.of(label) for choice, label in choices(state, dataset).items()}
    newest: dict[str, Judged] = {}
    for index, raw in enumerate(tasks):
        report.received += 1
        try:
            one = read_task(index, raw, named)
        except RowError as error:
            report.reject(index, error.sample_id, error.code, error.detail)
            continue
        held = None if one is None else newest.get(one.sample_id)
        if one is None or (held is not None and held.moment > one.moment):
            report.outcomes["skipped"] += 1
            continue
        if held is not None:
            report.outcomes["skipped"] += 1
        newest[one.sample_id] = one
    yield from newest.values()


def _record(state: State, dataset: Dataset, judged: Sequence[Judged], report: ImportReport) -> None:
    """Reviews of different samples, all in one write."""
    since = state.durability.incarnation()
    with writing_samples(state, dataset):
        entries = state.ids.entries(dataset, [one.sample_id for one in judged])
        ordinals = [entry.ordinal for entry in entries if entry is not None and entry.stored]
        rows = state.samples.by_ordinals(dataset, ordinals, _COLUMNS)
        histories = state.reviews.of_samples(dataset, ordinals)
        made, outcomes = [], []
        for one, entry in zip(judged, entries, strict=True):
            row = None if entry is None else rows.get(entry.ordinal)
            try:
                if row is None:
                    raise NotFound("unknown_sample", f"there is no sample {one.sample_id!r}")
                review = _review(dataset, one, row, histories.get(row["ordinal"], []))
            except GradSiftError as error:
                report.reject(one.index, one.sample_id, error.code, error.detail)
                continue
            outcomes.append(_outcome(review))
            made += [] if review is None else [review]
        record_all(state, dataset, made, since)
        report.outcomes.update(outcomes)


def _outcome(review: Review | None) -> Outcome:
    if review is None:
        return "unchanged"
    return "correct" if review.verdict is Verdict.CORRECT else "wrong"


def _review(dataset: Dataset, one: Judged, row: dict[str, Any], history: list[Review]) -> Review | None:
    """What is to be recorded; None where it is known already, or where somebody has judged since.

    Raises:
        Invalid: the sample has no label, or cannot have the chosen one.
    """
    present = present_label(row)
    if present is None:
        raise Invalid("no_label", f"sample {one.sample_id!r} has no label that could be judged")
    if history and one.at is not None and history[-1].created_at >= one.at:
        return None
    held = standing(history)
    same = one.choice.text == present.text
    if same and held is not None and held.generation == row["generation"]:
        brought = held.review.new_label
        if brought is not None or held.review.verdict is Verdict.CORRECT:
            return None
    if not same:
        refuse_change_too_many(row["generation"])
    return Review(
        created_at=now(),
        ordinal=row["ordinal"],
        generation=row["generation"],
        verdict=Verdict.CORRECT if same else Verdict.WRONG,
        sample_id=one.sample_id,
        label=present,
        new_label=None if same else _read_label(dataset, one),
    )


def _read_label(dataset: Dataset, one: Judged) -> StoredLabel | None:
    """The chosen label as the dataset would store it."""
    try:
        return LabelReader(dataset).read(SampleRow(one.sample_id, "", label=one.choice.value()))
    except RowError as error:
        raise Invalid(error.code, error.detail) from error
