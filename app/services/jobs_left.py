"""What a job leaves behind, and when it may go."""

from __future__ import annotations

from datetime import timedelta

from app.contracts import JobState, now
from app.errors import NotFound
from app.settings import Settings
from app.store.artifacts import ArtifactStore, jobs_with_artifacts
from app.store.state import State

KEPT_AFTER_END = timedelta(minutes=1)
"""Far more than a server loses of its file: a job that comes back from its end finds what it needs."""


def sweep(state: State, settings: Settings) -> None:
    """Cleans up after jobs that ended a while ago."""
    for job_id in jobs_with_artifacts(settings.data_url):
        try:
            job = state.jobs.get(job_id)
        except NotFound:
            continue  # of another service on the same data, or of a Redis that lost its jobs
        if job.finished_at is not None and now() - job.finished_at > KEPT_AFTER_END:
            clean_up_ended(state, settings, job_id)


def clean_up_ended(state: State, settings: Settings, job_id: str) -> None:
    """Archives the record of an ended job, removes its checkpoints and the results of one that failed, frees
    the version of the samples it read.

    A job that has not ended is left alone.
    """
    job = state.jobs.get(job_id)
    if not job.state.ended:
        return
    state.archive.save_job(job_id)
    if job.attempt == 0:
        return
    ArtifactStore(settings.data_url, job_id).remove_all()
    if job.state is not JobState.SUCCEEDED:
        state.results.of_job(state.jobs.dataset_uid(job_id), job_id).remove_all()
    dataset = state.datasets.by_uid(state.jobs.dataset_uid(job_id))
    if dataset is not None:
        state.samples.unpin(dataset, job_id)
        state.events.unpin(dataset, job_id)
