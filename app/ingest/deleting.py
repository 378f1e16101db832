"""Deleting many samples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.contracts import Dataset
from app.store.state import State
from app.store.unfinished import writing_samples

IDS_A_WRITE = 2_000


def delete_samples(
    state: State,
    dataset: Dataset,
    ids: Sequence[str],
    *,
    between: Callable[[int], None] = lambda _: None,
    without_trace: bool = False,
) -> int:
    """Deletes samples everywhere, with their scores and memberships; how many of the ids there were.

    What a writer that dies has not deleted is there still: the same call again deletes it.

    between: told how many ids are done, between two writes.
    without_trace: also out of reports and whatever jobs have left, by the housekeeper.
    """
    deleted = 0
    for start in range(0, len(ids), IDS_A_WRITE):
        between(start)
        deleted += _delete(state, dataset, ids[start : start + IDS_A_WRITE], without_trace=without_trace)
    if deleted:
        with writing_samples(state, dataset):
            state.samples.erase_deleted(dataset)
    return deleted


def _delete(state: State, dataset: Dataset, ids: Sequence[str], *, without_trace: bool) -> int:
    since = state.durability.incarnation()
    with writing_samples(state, dataset):
        held = zip(ids, state.ids.entries(dataset, ids), strict=True)
        entries = {sample_id: entry for sample_id, entry in held if entry is not None and entry.stored}
        if not entries:
            return 0
        ordinals = [entry.ordinal for entry in entries.values()]
        if max(ordinals) + 1 == state.datasets.next_ordinal(dataset):
            state.archive.save_manifest(dataset)  # no row will show any more that this ordinal was given
        if without_trace:
            notes = state.archive.of_dataset(dataset).deletions()
            for sample_id, entry in entries.items():
                notes.add(sample_id, entry.ordinal)
        state.journal.begin(dataset.uid, list(entries))
        state.make_durable(since=since)
        state.samples.delete_many(dataset, ordinals)
        state.reviews.forget_texts(dataset, ordinals)
        state.ids.commit(dataset, [(sample_id, None) for sample_id in entries], state.sets.numbers(dataset))
        state.make_durable(since=since)
        state.journal.end(dataset.uid)
    return len(entries)
