"""Storing samples: validated row by row, written in batches, durable when answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from app.contracts import Dataset
from app.errors import NotFound
from app.ingest.masking import mask_row
from app.ingest.placing import placed
from app.ingest.report import IngestReport
from app.ingest.rows import LabelReader, RowError, SampleRow, check_row
from app.settings import Settings
from app.store.content import attributes_digest, content_digest
from app.store.ids import IdEntry
from app.store.layout import GENERATIONS
from app.store.samples import SCHEMA, StoredLabel
from app.store.state import State
from app.store.unfinished import writing_samples
from app.tracing import span

DecodeRow = Callable[[], SampleRow]
"""Decodes one row when called; raises RowError."""


class Checked(NamedTuple):
    """A row that may be stored."""

    at: int
    """Its place among the rows of the request, from 0."""
    row: SampleRow
    label: StoredLabel | None
    content: int
    attributes: int

    def entry_after(self, old: IdEntry) -> IdEntry:
        generation = old.generation + (old.stored and self.content != old.content)
        return IdEntry(old.ordinal, generation, self.content, self.attributes)


@dataclass
class Outcome:
    """What became of the rows of one batch."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: list[tuple[int, RowError]] = field(default_factory=list)

    def reject(self, one: Checked, code: str, detail: str) -> None:
        self.rejected.append((one.at, RowError(code, detail, one.row.id)))


class Ingest:
    """One request's rows; `add` may be called many times, for bodies of any length.

    `check` and `store` are its two halves, for a caller that checks the next rows while a batch is stored:
    each in one thread at a time, and the outcome noted by the one that checks.
    """

    def __init__(self, state: State, settings: Settings, dataset: Dataset) -> None:
        self._state = state
        self._settings = settings
        self._dataset = dataset
        self._labels = LabelReader(dataset)
        self._sent = _Ordinals()
        self.report = IngestReport()

    def add(self, rows: Iterable[DecodeRow]) -> None:
        """Stores rows; the good ones are durable when this returns.

        Raises:
            Unavailable: Redis was restarted meanwhile; sending the rows again stores what it lost.
        """
        checked = [one for row in rows if (one := self.check(row)) is not None]
        size = self._settings.ingest_batch_rows
        for start in range(0, len(checked), size):
            self.note(self.store(checked[start : start + size]))

    def check(self, decode: DecodeRow) -> Checked | None:
        """The next row, if it may be stored; else it is rejected in the report."""
        at = self.report.received
        self.report.received += 1
        try:
            return self._check(at, decode())
        except RowError as error:
            self.report.reject(at, error)
            return None

    def _check(self, at: int, row: SampleRow) -> Checked:
        check_row(row, self._settings.max_text_chars)
        if self._dataset.settings.mask_samples:
            row, masked = mask_row(row)
            self.report.masked.update(masked)
        label = self._labels.read(row)
        text, number = (None, False) if label is None else label
        group = None if row.group is None else str(row.group)
        return Checked(
            at,
            row,
            label,
            content_digest(row.text, row.text_pair, text, row.split or "train"),
            attributes_digest(number, group, row.weight, row.meta),
        )

    def store(self, batch: Sequence[Checked]) -> Outcome:
        """Stores one batch; what it says is durable when this returns. Raises as `add` does."""
        state, dataset = self._state, self._dataset
        outcome = Outcome()
        batch = _first_of_each_id(batch, outcome)
        since = state.durability.incarnation()
        ids = [one.row.id for one in batch]
        with span("store samples", gradsift__rows=len(batch)), writing_samples(state, dataset):
            known_ordinals = state.datasets.next_ordinal(dataset)
            state.journal.begin(dataset.uid, ids)
            entries = state.ids.assign(dataset, ids)
            batch = placed(state, dataset, batch, entries)
            changes = self._changes(batch, entries, outcome)
            if changes:
                # The ordinals must never be given again, also if Redis dies after the rows are stored; and
                # whoever comes then must find in the journal what may be half done.
                state.make_durable(since=since)
                all_new = all(change.old.ordinal >= known_ordinals for change in changes)
                state.samples.write(dataset, _table(changes), all_new=all_new)
                visible = [(change.one.row.id, change.new) for change in changes]
                state.ids.commit(dataset, visible, state.sets.numbers(dataset))
                state.make_durable(since=since)
                state.samples.compact_if_scattered(dataset)
            state.journal.end(dataset.uid)
        outcome.updated = sum(change.old.stored for change in changes)
        outcome.created = len(changes) - outcome.updated
        return outcome

    def note(self, outcome: Outcome) -> None:
        """Takes a batch's outcome into the report."""
        report = self.report
        report.created += outcome.created
        report.updated += outcome.updated
        report.unchanged += outcome.unchanged
        for index, error in outcome.rejected:
            report.reject(index, error)

    def _changes(
        self, batch: Sequence[Checked], entries: Sequence[IdEntry], outcome: Outcome
    ) -> list[_Change]:
        """The rows that change something."""
        changes = []
        for one, old in zip(batch, entries, strict=True):
            if not self._sent.add(old.ordinal):
                outcome.reject(one, *SENT_TWICE)
                continue
            new = one.entry_after(old)
            if new == old:
                outcome.unchanged += 1
            elif new.generation == GENERATIONS:
                detail = f"the content of this sample has changed {old.generation} times, which is the most"
                outcome.reject(one, "too_many_changes", detail)
            else:
                changes.append(_Change(one, old, new))
        return changes


SENT_TWICE = ("duplicate_id", "this id stands in an earlier row of the request")


class _Change(NamedTuple):
    one: Checked
    old: IdEntry
    new: IdEntry


class _Ordinals:
    """A set of ordinals: one bit each, so that it may hold those of a body of any length."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, ordinal: int) -> bool:
        """Whether it is new."""
        byte, bit = ordinal >> 3, 1 << (ordinal & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        if self._bits[byte] & bit:
            return False
        self._bits[byte] |= bit
        return True


def _first_of_each_id(batch: Sequence[Checked], outcome: Outcome) -> Sequence[Checked]:
    by_id: dict[str, Checked] = {}
    for one in batch:
        if by_id.setdefault(one.row.id, one) is not one:
            outcome.reject(one, *SENT_TWICE)
    return list(by_id.values())


def delete_sample(state: State, dataset: Dataset, sample_id: str) -> None:
    """Deletes a sample everywhere; its id would get a new ordinal.

    Raises:
        NotFound: there is no such sample.
    """
    since = state.durability.incarnation()
    with writing_samples(state, dataset):
        entry = state.ids.find(dataset, sample_id)
        if entry is None:
            raise NotFound("unknown_sample", f"dataset {dataset.name!r} has no sample {sample_id!r}")
        if entry.ordinal + 1 == state.datasets.next_ordinal(dataset):
            state.archive.save_manifest(dataset)  # no row will show any more that this ordinal was given
        state.archive.of_dataset(dataset).deletions().add(sample_id, entry.ordinal)
        state.journal.begin(dataset.uid, [sample_id])
        state.make_durable(since=since)
        state.samples.delete(dataset, entry.ordinal)
        state.reviews.forget_texts(dataset, [entry.ordinal])
        state.ids.commit(dataset, [(sample_id, None)], state.sets.numbers(dataset))
        state.make_durable(since=since)
        state.journal.end(dataset.uid)


def _table(changes: Sequence[_Change]) -> pa.Table:
    rows = [change.one.row for change in changes]
    labels = [change.one.label for change in changes]
    columns: dict[str, list[Any]] = {
        "ordinal": [change.new.ordinal for change in changes],
        "generation": [change.new.generation for change in changes],
        "id": [row.id for row in rows],
        "text": [row.text for row in rows],
        "text_pair": [row.text_pair for row in rows],
        "label": [None if label is None else label.text for label in labels],
        "label_number": [label is not None and label.number for label in labels],
        "group": [None if row.group is None else str(row.group) for row in rows],
        "split": [row.split or "train" for row in rows],
        "weight": [row.weight for row in rows],
        "meta": [None if row.meta is None else json.dumps(row.meta, ensure_ascii=False) for row in rows],
    }
    return pa.table(columns, schema=SCHEMA)
