"""Writes of samples that their writer did not live to finish.

A batch goes to two places: the rows to the sample store, then their entries to Redis. The ids of the batch
stand in a journal from before the first write until after the last one, and the next writer, or the service
as it starts, finishes what it finds there: rows that were stored become visible, entries without a row go.

A review that replaces a label goes to three: the review itself is stored first, then the row with the new
label, then its entry. In this order nothing is lost that cannot be told from what is there: a stored review
names the new label and the generation that it replaces, so whoever comes next sees that the row still has
that generation and gives it the label. The other way round a label would have changed, and nobody could say
that a reviewer did it, nor what it was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import pyarrow as pa

from app.contracts import Dataset
from app.logs import get_logger
from app.store.content import ENTRY_COLUMNS, entry_of
from app.store.samples import SCHEMA
from app.store.state import State

T = TypeVar("T")
IDS_A_CALL = 2_000
log = get_logger(__name__)


@contextmanager
def writing_samples(state: State, dataset: Dataset) -> Iterator[None]:
    """Holds the right to change the dataset's samples, once the last writer's batch is finished.

    Raises:
        Conflict: another process held it for too long.
    """
    with state.datasets.writing(dataset):
        finish_write(state, dataset)
        yield


def finish_write(state: State, dataset: Dataset) -> int:
    """Finishes what a dead writer left; answers how many ids changed. The caller holds the write lock."""
    ids = state.journal.unfinished(dataset.uid)
    if ids is None:
        return 0
    changed = complete_write(state, dataset, ids)
    log.warning("the batch of a writer that died is finished", dataset=dataset.name, samples=changed)
    return changed


def complete_write(state: State, dataset: Dataset, ids: Sequence[str], *, since: str | None = None) -> int:
    """Makes visible what is stored of the ids in the journal, and ends it; answers how many ids changed.

    Raises:
        Unavailable: Redis was restarted since; the journal stays for the next writer.
    """
    changed = sum(_settle(state, dataset, some) for some in _parts(ids))
    state.make_durable(since=since)
    state.journal.end(dataset.uid)
    return changed


def finish_all_writes(state: State) -> None:
    """What the service does as it starts."""
    for name in state.datasets.names():
        dataset = state.datasets.find(name)
        if dataset is not None and state.journal.unfinished(dataset.uid) is not None:
            with state.datasets.writing(dataset):
                finish_write(state, dataset)


def _settle(state: State, dataset: Dataset, ids: Sequence[str]) -> int:
    """Makes the entries of these ids what the stored rows say."""
    entries = state.ids.entries(dataset, ids)
    ordinals = [entry.ordinal for entry in entries if entry is not None]
    replace_reviewed_labels(state, dataset, ordinals)
    rows = state.samples.by_ordinals(dataset, ordinals, ENTRY_COLUMNS)
    changes = []
    for sample_id, entry in zip(ids, entries, strict=True):
        if entry is None:
            continue
        row = rows.get(entry.ordinal)
        stored = None if row is None else entry_of(row)
        if stored != entry:
            changes.append((sample_id, stored))
    state.reviews.forget_texts(dataset, [ordinal for ordinal in ordinals if ordinal not in rows])
    state.ids.commit(dataset, changes, state.sets.numbers(dataset))
    if any(stored is None for _, stored in changes):
        state.archive.save_manifest(dataset)  # ordinals that were given, and that no row shows
    return len(changes)


def replace_reviewed_labels(state: State, dataset: Dataset, ordinals: Sequence[int] | None) -> None:
    """Gives rows the label that their last review gave them, where they still have the generation before it;
    of these ordinals, or of all. The caller holds the write lock and sees to the entries."""
    reviews = state.reviews.replacing(dataset, ordinals)
    for some in _parts(sorted(reviews)):
        held = state.samples.by_ordinals(dataset, some, ["generation"])
        late = [at for at in some if at in held and held[at]["generation"] == reviews[at].generation]
        rows = state.samples.by_ordinals(dataset, late)
        for ordinal, row in rows.items():
            label = reviews[ordinal].new_label
            if label is not None:
                row.update(generation=row["generation"] + 1, label=label.text, label_number=label.number)
        if rows:
            table = pa.Table.from_pylist(list(rows.values()), schema=SCHEMA)
            state.samples.write(dataset, table, all_new=False)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    yield from (items[start : start + IDS_A_CALL] for start in range(0, len(items), IDS_A_CALL))
