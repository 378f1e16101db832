"""Claims jobs and sees each to its end: succeeded, failed, cancelled, or back in the queue."""

from __future__ import annotations

import time

from app.contracts import Claim, JobError, JobState, Progress
from app.errors import REMEDIES, GradSiftError, NotFound, StaleWorker
from app.logs import get_logger, log_context
from app.settings import Settings
from app.store.state import State, open_state
from models.errors import ModelError
from workers.lease import JobCancelled, JobInterrupted, JobLease
from workers.score.pipeline import ScoreJob

log = get_logger(__name__)


def run_waiting_jobs(settings: Settings, worker: str) -> None:
    """Runs queued jobs, oldest first, until none is left that may run now."""
    state = open_state(settings, outage_seconds=settings.redis_outage_seconds)
    try:
        while (claim := state.jobs.claim(worker, settings.lease_seconds)) is not None:
            with log_context(job_id=claim.job.id, dataset=claim.job.dataset):
                if not run_claimed(state, settings, claim):
                    return
    finally:
        state.close()


def run_claimed(state: State, settings: Settings, claim: Claim) -> bool:
    """Runs one job to its end; False if this worker is to stop."""
    started = time.monotonic()
    log.info("job claimed", attempt=claim.job.attempt, kind=claim.job.kind.value)
    with JobLease(claim, state.jobs, settings) as lease:
        job = ScoreJob(state, settings, lease)
        try:
            result = job.run()
            state.make_durable()
            _end(state, lease, JobState.SUCCEEDED, result=result)
        except JobCancelled:
            _end(state, lease, JobState.CANCELLED)
        except JobInterrupted:
            _end(state, lease, JobState.QUEUED)
            return False
        except StaleWorker as error:
            log.warning("job lost to another worker", detail=error.detail)
            return True
        except NotFound as error:
            _fail_or_cancel(state, lease, error)
        except GradSiftError as error:
            _end(state, lease, JobState.FAILED, error=_shown(error.code, error.detail, error.remedy))
        except ModelError as error:
            _end(state, lease, JobState.FAILED, error=_shown(error.code, error.detail, error.remedy))
        except Exception as error:
            log.exception("job failed unexpectedly")
            detail = f"{type(error).__name__}: {error}"[:2000]
            _end(
                state,
                lease,
                JobState.FAILED,
                error=_shown("internal_error", detail, REMEDIES["internal_error"]),
            )
    job.clean_up()
    log.info("job ended", seconds=round(time.monotonic() - started, 1))
    return True


def _end(
    state: State,
    lease: JobLease,
    ended: JobState,
    *,
    result: dict[str, object] | None = None,
    error: JobError | None = None,
) -> None:
    progress = lease.progress
    if ended is JobState.SUCCEEDED:
        progress = progress.model_copy(update={"phase": "done", "fraction": 1.0, "eta_seconds": 0.0})
    elif ended is JobState.QUEUED:
        progress = Progress(phase="queued", step=progress.step, total_steps=progress.total_steps)
    try:
        state.jobs.end(lease.claim, ended, progress=progress, result=result, error=error)
    except StaleWorker as stale:
        log.warning("job lost to another worker at its end", detail=stale.detail)
        return
    state.make_durable()
    if error is not None:
        log.warning("job failed", code=error.code, detail=error.detail)


def _fail_or_cancel(state: State, lease: JobLease, error: NotFound) -> None:
    """A dataset that was deleted under its job takes the job with it."""
    if error.code == "unknown_dataset":
        _end(state, lease, JobState.CANCELLED)
    else:
        _end(state, lease, JobState.FAILED, error=_shown(error.code, error.detail, error.remedy))


def _shown(code: str, detail: str, remedy: str) -> JobError:
    return JobError(code=code, detail=detail, remedy=remedy)
