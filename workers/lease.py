"""A worker's hold on a job: renewed from a thread, asked at every step whether to go on."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from app.contracts import Claim, JobState, Progress
from app.errors import JobFailed, StaleWorker
from app.logs import get_logger
from app.settings import Settings
from app.store.jobs import JobStore, Word
from app.tracing import PhaseSpans

ASK_AGAIN_SECONDS = 0.05
PATIENCE_SECONDS = 4.0
"""A worker that is to stop has so long to reach the end of a step; then its job goes elsewhere."""
log = get_logger(__name__)


class JobCancelled(Exception):
    """The client cancelled the job."""


class JobInterrupted(Exception):
    """The worker shuts down: the job goes back to the queue."""


class BudgetExceeded(JobFailed):
    """The job has run for `params.max_minutes`, all attempts together."""


class JobLease:
    """Context manager around a claimed job.

    A thread renews the lease while the job loads, tokenizes or computes; `check` is for the steps between, so
    that a cancelled job stops within one of them. While Redis is away or takes no writes, both wait; a lease
    that ran out meanwhile is taken again unless another worker has claimed the job. The thread also gives the
    job back where the worker is to stop, and is in a phase without a check for too long.
    """

    def __init__(self, claim: Claim, jobs: JobStore, settings: Settings) -> None:
        self.claim = claim
        self.progress = claim.job.progress
        self.samples_per_second: float | None = None
        minutes = claim.job.params.get("max_minutes")
        self._budget = None if minutes is None else 60.0 * float(minutes)
        self._began = time.monotonic()
        self._jobs = jobs
        self._settings = settings
        self._word: Word = "ok"
        self._lost: StaleWorker | None = None
        self._asked = 0.0
        self._drained_at: float | None = None
        self._given_back = False
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._phases = PhaseSpans()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._phases.end()
        self.let_go()
        self._thread.join(timeout=5)

    def let_go(self) -> None:
        """Renews no more, so that a job that is given back is not taken again."""
        with self._lock:
            self._stop.set()

    def hold(self) -> None:
        """Makes sure that the job is this worker's still, or again.

        Raises:
            StaleWorker: another worker holds the job, or it has ended.
        """
        self._renew()
        if self._lost is not None:
            raise self._lost

    def check(self, progress: Progress | None = None) -> None:
        """Leaves the progress, and raises if the job must not go on.

        Raises:
            JobCancelled, JobInterrupted: as the words say.
            StaleWorker: another worker holds the job.
        """
        if progress is not None:
            self.progress = progress
            self.samples_per_second = progress.samples_per_second or self.samples_per_second
            self._phases.enter(progress.phase)
        if time.monotonic() - self._asked >= ASK_AGAIN_SECONDS:
            self._renew()
        if self._given_back:
            raise JobInterrupted
        if self._lost is not None:
            raise self._lost
        if self._word == "cancel":
            raise JobCancelled
        if self._word == "drain":
            raise JobInterrupted

    @property
    def ran_seconds(self) -> float:
        """How long the job has run, in all attempts; what waits in the queue does not run."""
        return self.claim.ran_seconds + time.monotonic() - self._began

    def step(self, progress: Progress | None = None, *, preparing: bool = False) -> None:
        """`check`, between two steps of what a budget is for. What ends a job is finished beyond it.

        preparing: before the first step. A job whose budget was spent by earlier attempts gets that far once
        more: the last of them died while it made what it had into a result.

        Raises:
            BudgetExceeded: `budget_exceeded`. It is on the job's record then that the budget is spent.
        """
        self.check(progress)
        if self._budget is None or self.ran_seconds < self._budget:
            return
        if preparing and self.claim.ran_seconds >= self._budget:
            return
        self._renew()
        ran = f"the job has run for {self.ran_seconds / 60:.3g} minutes"
        raise BudgetExceeded("budget_exceeded", f"{ran}, max_minutes is {self._budget / 60:g}")

    def _renew(self) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._asked = time.monotonic()
            try:
                lease_seconds = self._settings.lease_seconds
                self._word = self._jobs.renew(self.claim, lease_seconds, self.progress, self.ran_seconds)
            except StaleWorker as error:
                self._lost = error
                return
            if self._word == "drain" and self._drained_at is None:
                self._drained_at = time.monotonic()

    def _give_back(self) -> None:
        """What this worker still does of the job is refused from here on."""
        with self._lock:
            if self._stop.is_set():
                return
            step, total = self.progress.step, self.progress.total_steps
            queued = Progress(phase="queued", step=step, total_steps=total)
            self._jobs.end(self.claim, JobState.QUEUED, progress=queued)
            self._lost = StaleWorker("stale_worker", f"job {self.claim.job.id} was given back")
            self._given_back = True
            self._stop.set()
        log.warning("job given back in the middle of a long phase", phase=self.progress.phase)

    def _keep(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_seconds) and self._lost is None:
            try:
                self._renew()
                since = self._drained_at
                if since is not None and time.monotonic() - since >= PATIENCE_SECONDS:
                    self._give_back()
            except Exception:
                log.warning("the lease could not be renewed", exc_info=True)
