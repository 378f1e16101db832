"""Deleted samples are made to vanish from files: from tables, their old versions, and what jobs have left."""

from __future__ import annotations

import time
from datetime import timedelta

import msgspec

from app.contracts import Dataset
from app.errors import NotFound
from app.logs import get_logger
from app.services.scrubbing import scrub_outputs
from app.store.deletions import Deletion, DeletionNotes
from app.store.state import State
from app.store.turn import rewrite_log
from app.store.unfinished import writing_samples
from app.store.upkeep import TableUpkeep

log = get_logger(__name__)


def purge_deleted(
    state: State, dataset: Dataset, samples: TableUpkeep, reviews: TableUpkeep | None, kept_for: timedelta
) -> int:
    """Goes as far as it may; answers how many deleted samples may still be found in files."""
    notes = state.archive.of_dataset(dataset).deletions()
    noted = _without_living(state, dataset, notes)
    if not noted:
        return 0
    pending = _rewritten(noted, "samples_from", samples)
    pending = _rewritten(pending, "reviews_from", reviews)
    pending = _scrubbed(state, dataset, pending, kept_for)
    for before, deletion in zip(noted, pending, strict=True):
        if deletion != before:
            notes.save(deletion)
    gone = _gone(pending, samples, reviews, kept_for)
    if gone:
        rewrite_log(state.client)
    for deletion in gone:
        notes.remove(deletion)
        log.info("a deleted sample is gone from all files", dataset=dataset.name, ordinal=deletion.ordinal)
    return len(pending) - len(gone)


def _without_living(state: State, dataset: Dataset, notes: DeletionNotes) -> list[Deletion]:
    """A writer that died before it deleted anything has left a note of a sample that is there."""
    pending = notes.all()
    living = state.samples.by_ordinals(dataset, [one.ordinal for one in pending], ["ordinal"])
    if living:
        with writing_samples(state, dataset):
            living = state.samples.by_ordinals(dataset, sorted(living), ["ordinal"])
        for deletion in pending:
            if deletion.ordinal in living:
                notes.remove(deletion)
    return [deletion for deletion in pending if deletion.ordinal not in living]


def _rewritten(pending: list[Deletion], field: str, table: TableUpkeep | None) -> list[Deletion]:
    if all(getattr(deletion, field) is not None for deletion in pending):
        return pending
    version = 0 if table is None else table.purge()
    return [
        deletion
        if getattr(deletion, field) is not None
        else msgspec.structs.replace(deletion, **{field: version})
        for deletion in pending
    ]


def _scrubbed(state: State, dataset: Dataset, pending: list[Deletion], kept_for: timedelta) -> list[Deletion]:
    """Again and again, until nothing is found, and no job is left that was sent before."""
    due = [deletion for deletion in pending if not deletion.outputs_clean]
    oldest = _oldest_job(state, dataset)
    due = [deletion for deletion in due if oldest is None or oldest >= deletion.since]
    if not due:
        return pending
    began = time.time()
    found = scrub_outputs(state, dataset, due, kept_for)
    seen = {
        deletion.ordinal: msgspec.structs.replace(deletion, since=began)
        if deletion.ordinal in found
        else msgspec.structs.replace(deletion, outputs_clean=True)
        for deletion in due
    }
    return [seen.get(deletion.ordinal, deletion) for deletion in pending]


def _oldest_job(state: State, dataset: Dataset) -> float | None:
    """When the oldest job was sent that has not ended."""
    sent: list[float] = []
    for job_id in state.jobs.unfinished_of(dataset.uid):
        try:
            job = state.jobs.get(job_id)
        except NotFound:
            continue
        if not job.state.ended:
            sent.append(job.created_at.timestamp())
    return min(sent, default=None)


def _gone(
    pending: list[Deletion], samples: TableUpkeep, reviews: TableUpkeep | None, kept_for: timedelta
) -> list[Deletion]:
    due = [one for one in pending if one.outputs_clean and time.time() - one.at >= kept_for.total_seconds()]
    if not due:
        return []
    oldest_samples = _oldest_kept(samples, kept_for)
    oldest_reviews = 0 if reviews is None else _oldest_kept(reviews, kept_for)
    return [
        one
        for one in due
        if one.samples_from is not None
        and one.reviews_from is not None
        and oldest_samples >= one.samples_from
        and oldest_reviews >= one.reviews_from
    ]


def _oldest_kept(table: TableUpkeep, kept_for: timedelta) -> int:
    table.drop_versions(kept_for)
    return table.versions()[0]
