"""Claims jobs and sees each to its end: succeeded, failed, cancelled, or back in the queue."""

from __future__ import annotations

import secrets
import time
from typing import Any, Protocol

from app.contracts import Claim, JobError, JobKind, JobState, Progress
from app.errors import REMEDIES, GradSiftError, NotFound, StaleFence, StaleWorker, Unavailable
from app.logs import get_logger, log_context
from app.settings import Settings
from app.store.connections import TRANSIENT
from app.store.state import State, open_state
from app.store.tally import LEASES_LOST, WRITES_REFUSED
from app.tracing import flush, span
from models.errors import ModelError
from models.memory import is_out_of_memory
from workers.clean.pipeline import CleanJob
from workers.compare.pipeline import CompareJob
from workers.figures import forget_gpu_peak
from workers.grow.pipeline import GrowJob
from workers.importing.pipeline import ImportJob
from workers.label.pipeline import LabelJob
from workers.lease import JobCancelled, JobInterrupted, JobLease
from workers.score.pipeline import ScoreJob
from workers.split.pipeline import SplitJob
from workers.train.pipeline import TrainJob

UNAVAILABLE_SECONDS = 5.0
"""How long a job rests before it asks again for what did not answer."""


class Runnable(Protocol):
    """One kind of job, made for a claimed one; its result when it has succeeded."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None: ...

    def run(self) -> dict[str, Any]: ...


JOBS: dict[JobKind, type[Runnable]] = {
    JobKind.SCORE: ScoreJob,
    JobKind.GROW: GrowJob,
    JobKind.TRAIN: TrainJob,
    JobKind.COMPARE: CompareJob,
    JobKind.IMPORT: ImportJob,
    JobKind.CLEAN: CleanJob,
    JobKind.SPLIT: SplitJob,
    JobKind.LABEL: LabelJob,
}
log = get_logger(__name__)


def run_waiting_jobs(settings: Settings, worker: str) -> None:
    """Runs queued jobs, oldest first, until none is left that may run now."""
    state = open_state(settings, outage_seconds=settings.redis_outage_seconds, waits_for_room=True)
    try:
        while (claim := _claim(state, settings, worker)) is not None:
            origin = {"request_id": claim.origin.request_id} if claim.origin.request_id else {}
            with log_context(job_id=claim.job.id, dataset=claim.job.dataset, **origin):
                if not run_traced(state, settings, claim):
                    return
    finally:
        state.close()


def _claim(state: State, settings: Settings, worker: str) -> Claim | None:
    """A job whose claim is on disk: a token that a worker acts on is never given out again.

    That holds even if the server loses its tail and its clock goes back: the next token is above the last one
    that it remembers, and it remembers this one.
    """
    call = secrets.token_hex(8)

    def take() -> Claim | None:
        return state.jobs.claim(worker, settings.lease_seconds, call, settings.worker_kinds)

    return None if take() is None else state.durably(take)


def run_traced(state: State, settings: Settings, claim: Claim) -> bool:
    """`run_claimed` within a span of the trace that the job was sent in."""
    job, parent = claim.job, claim.origin.traceparent
    told: dict[str, str | int] = {"gradsift__job_id": job.id, "gradsift__dataset": job.dataset}
    told["gradsift__attempt"] = job.attempt
    with span(f"job {job.kind.value}", parent=parent, kind="consumer", **told):
        goes_on = run_claimed(state, settings, claim)
    flush()
    return goes_on


def run_claimed(state: State, settings: Settings, claim: Claim) -> bool:
    """Runs one job to its end; False if this worker is to stop."""
    started = time.monotonic()
    forget_gpu_peak()
    log.info("job claimed", attempt=claim.job.attempt, kind=claim.job.kind.value)
    with JobLease(claim, state.jobs, settings) as lease:
        job = JOBS[claim.job.kind](state, settings, lease)
        try:
            ended = _end(state, lease, JobState.SUCCEEDED, result=job.run())
        except JobCancelled:
            ended = _end(state, lease, JobState.CANCELLED)
        except JobInterrupted:
            _end(state, lease, JobState.QUEUED)
            return False
        except StaleWorker as error:
            _count_lost(state, error)
            log.warning("job lost to another worker", detail=error.detail)
            return True
        except TRANSIENT as error:
            log.warning("redis stayed away; the job resumes when its lease has run out", error=str(error))
            return False
        except Unavailable as error:
            log.warning("the job goes back to the queue", code=error.code, detail=error.detail)
            time.sleep(UNAVAILABLE_SECONDS)
            _end(state, lease, JobState.QUEUED)
            return False
        except (GradSiftError, ModelError) as error:
            ended = _end_by_error(state, lease, error)
        except Exception as error:
            log.exception("job failed unexpectedly")
            code = "out_of_memory" if is_out_of_memory(error) else "internal_error"
            detail = f"{type(error).__name__}: {error}"[:2000]
            shown = JobError(code=code, detail=detail, remedy=REMEDIES[code])
            ended = _end(state, lease, JobState.FAILED, error=shown)
    if ended:
        _archive(state, claim)
        log.info("job ended", seconds=round(time.monotonic() - started, 1))
    return True


def _archive(state: State, claim: Claim) -> None:
    """Keeps the ended job's record as a file, and its end in the audit log; of a dataset that was deleted
    meanwhile no file is kept."""
    state.archive.save_job(claim.job.id)
    state.audit.log.job_ended(state.jobs.get(claim.job.id), claim.origin)
    if state.datasets.by_uid(claim.dataset_uid) is None:
        state.archive.drop(claim.job.dataset, claim.dataset_uid)


def _end(
    state: State,
    lease: JobLease,
    ended: JobState,
    *,
    result: dict[str, object] | None = None,
    error: JobError | None = None,
) -> bool:
    """Leaves the job in this state, on disk; False if it is another worker's by now.

    What only a later attempt would need stays: a server that loses its tail may say that the job still runs.
    The API sweeps it up later (`app.services.jobs_left`).
    """
    progress = lease.progress
    if ended is JobState.SUCCEEDED:
        done = {"phase": "done", "fraction": 1.0, "eta_seconds": 0.0}
        # How fast it was, for estimates of later ones; what came after its training was of another speed.
        progress = progress.model_copy(update=done | {"samples_per_second": lease.samples_per_second})
    elif ended is JobState.QUEUED:
        progress = Progress(phase="queued", step=progress.step, total_steps=progress.total_steps)
    try:
        lease.hold()
        lease.let_go()
        state.durably(
            lambda: state.jobs.end(lease.claim, ended, progress=progress, result=result, error=error)
        )
    except StaleWorker as stale:
        _count_lost(state, stale)
        log.warning("job lost to another worker at its end", detail=stale.detail)
        return False
    if error is not None:
        log.warning("job failed", code=error.code, detail=error.detail)
    return True


def _count_lost(state: State, error: StaleWorker) -> None:
    state.tally.add(LEASES_LOST)
    if isinstance(error, StaleFence):
        state.tally.add(WRITES_REFUSED)


def _end_by_error(state: State, lease: JobLease, error: GradSiftError | ModelError) -> bool:
    """The job fails; but a dataset that was deleted under its job takes the job with it."""
    if isinstance(error, NotFound) and error.code == "unknown_dataset":
        return _end(state, lease, JobState.CANCELLED)
    shown = JobError(code=error.code, detail=error.detail, remedy=error.remedy)
    return _end(state, lease, JobState.FAILED, error=shown)
