"""The files that a job leaves: what there is, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.contracts import Job, JobState
from app.errors import NotFound
from app.store.artifacts import Folder
from app.store.explanations import FOLDER as EXPLANATION
from app.store.results import REPORT_HTML, REPORT_JSON
from app.store.state import State

CHUNK = 2**20


@dataclass(frozen=True)
class JobFile:
    name: str
    bytes: int


def job_files(state: State, job_id: str) -> list[JobFile]:
    """By name, of a job that has succeeded: what another one has written so far may be half of it."""
    folder = _folder(state, state.jobs.get(job_id))
    return [] if folder is None else [JobFile(name, folder.size(name)) for name in _shown(folder)]


def open_job_file(state: State, job_id: str, name: str) -> tuple[int, Iterator[bytes]]:
    """Length and chunks.

    Raises:
        NotFound: there is no such job, or it has no such file.
    """
    folder = _folder(state, state.jobs.get(job_id))
    if folder is None or name not in _shown(folder):
        raise NotFound("unknown_file", f"job {job_id!r} has no file {name!r}")
    return folder.size(name), _chunks(folder, name)


def job_report(state: State, job_id: str, *, html: bool) -> bytes:
    """Raises NotFound: there is no such job, or it has left no report."""
    folder = _folder(state, state.jobs.get(job_id))
    content = None if folder is None else folder.read(REPORT_HTML if html else REPORT_JSON)
    if content is None:
        raise NotFound("no_report", f"job {job_id!r} has no report")
    return content


def _folder(state: State, job: Job) -> Folder | None:
    if job.state is not JobState.SUCCEEDED:
        return None
    return state.results.of_job(state.jobs.dataset_uid(job.id), job.id)


def _shown(folder: Folder) -> list[str]:
    """Without what only the explanation of a sample is made of."""
    return [name for name in folder.names() if not name.startswith(f"{EXPLANATION}/")]


def _chunks(folder: Folder, name: str) -> Iterator[bytes]:
    with folder.open(name) as stream:
        while chunk := stream.read(CHUNK):
            yield bytes(chunk)
