"""A worker's hold on a job: renewed from a thread, asked at every step whether to go on."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from app.contracts import Claim, Progress
from app.errors import StaleWorker
from app.logs import get_logger
from app.settings import Settings
from app.store.jobs import JobStore, Word
from app.tracing import PhaseSpans

ASK_AGAIN_SECONDS = 0.05
log = get_logger(__name__)


class JobCancelled(Exception):
    """The client cancelled the job."""


class JobInterrupted(Exception):
    """The worker shuts down: the job goes back to the queue."""


class JobLease:
    """Context manager around a claimed job.

    A thread renews the lease while the job loads, tokenizes or computes; `check` is for the steps between, so
    that a cancelled job stops within one of them. While Redis is away or takes no writes, both wait; a lease
    that ran out meanwhile is taken again unless another worker has claimed the job.
    """

    def __init__(self, claim: Claim, jobs: JobStore, settings: Settings) -> None:
        self.claim = claim
        self.progress = claim.job.progress
        self._jobs = jobs
        self._settings = settings
        self._word: Word = "ok"
        self._lost: StaleWorker | None = None
        self._asked = 0.0
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
            self._phases.enter(progress.phase)
        if time.monotonic() - self._asked >= ASK_AGAIN_SECONDS:
            self._renew()
        if self._lost is not None:
            raise self._lost
        if self._word == "cancel":
            raise JobCancelled
        if self._word == "drain":
            raise JobInterrupted

    def _renew(self) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._asked = time.monotonic()
            try:
                self._word = self._jobs.renew(self.claim, self._settings.lease_seconds, self.progress)
            except StaleWorker as error:
                self._lost = error

    def _keep(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_seconds) and self._lost is None:
            try:
                self._renew()
            except Exception:
                log.warning("the lease could not be renewed", exc_info=True)
