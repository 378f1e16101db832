"""What a job leaves behind when no worker sees its end."""

from __future__ import annotations

from app.settings import Settings
from app.store.artifacts import ArtifactStore
from app.store.state import State


def clean_up_ended(state: State, settings: Settings, job_id: str) -> None:
    """Archives the record of an ended job, removes its checkpoints, frees the version of the samples it read.

    A worker does so itself at the end; a job that ends while it waits for its next attempt has none. A job
    that has not ended is left alone.
    """
    job = state.jobs.get(job_id)
    if not job.state.ended:
        return
    state.archive.save_job(job_id)
    if job.attempt == 0:
        return
    ArtifactStore(settings.data_url, job_id).remove_all()
    dataset = state.datasets.by_uid(state.jobs.dataset_uid(job_id))
    if dataset is not None:
        state.samples.unpin(dataset, job_id)
