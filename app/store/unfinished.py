"""Writes of samples that their writer did not live to finish.

A batch goes to two places: the rows to the sample store, then their entries to Redis. The ids of the batch
stand in a journal from before the first write until after the last one, and the next writer, or the service
as it starts, finishes what it finds there: rows that were stored become visible, entries without a row go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.contracts import Dataset
from app.logs import get_logger
from app.store.content import ENTRY_COLUMNS, entry_of
from app.store.state import State

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
    changed = sum(
        _settle(state, dataset, ids[start : start + IDS_A_CALL]) for start in range(0, len(ids), IDS_A_CALL)
    )
    state.make_durable()
    state.journal.end(dataset.uid)
    log.warning("the batch of a writer that died is finished", dataset=dataset.name, samples=changed)
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
    rows = state.samples.by_ordinals(dataset, ordinals, ENTRY_COLUMNS)
    changes = []
    for sample_id, entry in zip(ids, entries, strict=True):
        if entry is None:
            continue
        row = rows.get(entry.ordinal)
        stored = None if row is None else entry_of(row)
        if stored != entry:
            changes.append((sample_id, stored))
    state.ids.commit(dataset, changes, state.sets.numbers(dataset))
    if any(stored is None for _, stored in changes):
        state.archive.save_manifest(dataset)  # ordinals that were given, and that no row shows
    return len(changes)
