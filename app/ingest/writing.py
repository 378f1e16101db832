"""Storing samples: validated row by row, written in batches, durable when answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from app.contracts import Dataset
from app.errors import NotFound
from app.ingest.rows import RowError, SampleRow, check_row, known_labels, stored_label
from app.ingest.streams import Decoded
from app.settings import Settings
from app.store.content import attributes_digest, content_digest
from app.store.ids import IdEntry
from app.store.layout import GENERATIONS
from app.store.samples import SCHEMA, StoredLabel
from app.store.state import State
from app.store.unfinished import writing_samples

REJECTIONS_LISTED = 10_000


@dataclass
class IngestReport:
    """What became of the rows of one request."""

    received: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected_total: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def reject(self, index: int, error: RowError) -> None:
        self.rejected_total += 1
        if len(self.rejected) < REJECTIONS_LISTED:
            self.rejected.append(
                {"index": index, "id": error.sample_id, "code": error.code, "detail": error.detail}
            )


@dataclass(frozen=True)
class _Checked:
    index: int
    row: SampleRow
    label: StoredLabel | None

    def content_digest(self) -> int:
        row = self.row
        label = None if self.label is None else self.label.text
        return content_digest(row.text, row.text_pair, label, row.split)

    def attributes_digest(self) -> int:
        number = self.label is not None and self.label.number
        group = None if self.row.group is None else str(self.row.group)
        return attributes_digest(number, group, self.row.weight, self.row.meta)


class Ingest:
    """One request's rows; `add` may be called many times, for bodies of any length."""

    def __init__(self, state: State, settings: Settings, dataset: Dataset) -> None:
        self._state = state
        self._settings = settings
        self._dataset = dataset
        self._labels = known_labels(dataset)
        self._seen: set[str] = set()
        self.report = IngestReport()

    def add(self, rows: Iterable[Decoded]) -> None:
        """Stores rows; the good ones are durable when this returns.

        Raises:
            Unavailable: Redis was restarted meanwhile; sending the rows again stores what it lost.
        """
        checked: list[_Checked] = []
        for decode in rows:
            index = self.report.received
            self.report.received += 1
            try:
                checked.append(self._check(index, decode()))
            except RowError as error:
                self.report.reject(index, error)
        size = self._settings.ingest_batch_rows
        for start in range(0, len(checked), size):
            self._store(checked[start : start + size])

    def _check(self, index: int, row: SampleRow) -> _Checked:
        check_row(row, self._settings.max_text_chars)
        label = stored_label(self._dataset.task, self._labels, row)
        if row.id in self._seen:
            raise RowError("duplicate_id", "this id stands in an earlier row of the request", row.id)
        self._seen.add(row.id)
        return _Checked(index, row, label)

    def _store(self, batch: Sequence[_Checked]) -> None:
        state, dataset = self._state, self._dataset
        since = state.durability.incarnation()
        ids = [one.row.id for one in batch]
        with writing_samples(state, dataset):
            known_ordinals = state.datasets.next_ordinal(dataset)
            state.journal.begin(dataset.uid, ids)
            entries = state.ids.assign(dataset, ids)
            changes, unchanged = self._changes(batch, entries)
            if changes:
                # The ordinals must never be given again, also if Redis dies after the rows are stored; and
                # whoever comes then must find in the journal what may be half done.
                state.make_durable(since=since)
                rows = _table([(one, new) for one, _, new in changes])
                all_new = all(old.ordinal >= known_ordinals for _, old, _ in changes)
                state.samples.write(dataset, rows, all_new=all_new)
                versions = state.sets.numbers(dataset)
                state.ids.commit(dataset, [(one.row.id, new) for one, _, new in changes], versions)
                state.make_durable(since=since)
                state.samples.compact_if_scattered(dataset)
            state.journal.end(dataset.uid)
        self.report.created += sum(not old.stored for _, old, _ in changes)
        self.report.updated += sum(old.stored for _, old, _ in changes)
        self.report.unchanged += unchanged

    def _changes(
        self, batch: Sequence[_Checked], entries: Sequence[IdEntry]
    ) -> tuple[list[tuple[_Checked, IdEntry, IdEntry]], int]:
        """Rows that change something, with their old and new entry, and how many change nothing."""
        changes, unchanged = [], 0
        for one, old in zip(batch, entries, strict=True):
            new = _next_entry(one, old)
            if new == old:
                unchanged += 1
            elif new.generation == GENERATIONS:
                detail = f"the content of this sample has changed {old.generation} times, which is the most"
                self.report.reject(one.index, RowError("too_many_changes", detail, one.row.id))
            else:
                changes.append((one, old, new))
        return changes, unchanged


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
        state.journal.begin(dataset.uid, [sample_id])
        state.make_durable(since=since)
        state.samples.delete(dataset, entry.ordinal)
        state.reviews.forget_texts(dataset, [entry.ordinal])
        state.ids.commit(dataset, [(sample_id, None)], state.sets.numbers(dataset))
        state.make_durable(since=since)
        state.journal.end(dataset.uid)


def _next_entry(one: _Checked, old: IdEntry) -> IdEntry:
    content = one.content_digest()
    generation = old.generation + (old.stored and content != old.content)
    return IdEntry(old.ordinal, generation, content, one.attributes_digest())


def _table(rows: Sequence[tuple[_Checked, IdEntry]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "ordinal": entry.ordinal,
                "generation": entry.generation,
                "id": one.row.id,
                "text": one.row.text,
                "text_pair": one.row.text_pair,
                "label": None if one.label is None else one.label.text,
                "label_number": one.label is not None and one.label.number,
                "group": None if one.row.group is None else str(one.row.group),
                "split": one.row.split,
                "weight": one.row.weight,
                "meta": None if one.row.meta is None else json.dumps(one.row.meta, ensure_ascii=False),
            }
            for one, entry in rows
        ],
        schema=SCHEMA,
    )
