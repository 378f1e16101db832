"""Says in Redis that this process is there, and that it is leaving."""

from __future__ import annotations

import os
import socket
import threading

from app.logs import get_logger
from app.store.connections import REFUSED, TRANSIENT
from app.store.jobs import JobStore
from app.store.lines import Line
from app.store.roll import Roll
from workers.forking import STILLNESS

BEAT_SECONDS = 1.0
GONE_AFTER_SECONDS = 5.0
READY_SECONDS = 0.2
NAME_VARIABLE = "GRADSIFT_WORKER_NAME"
log = get_logger(__name__)


def name_this_worker() -> str:
    """The name that this process and the children it starts go by."""
    return os.environ.setdefault(NAME_VARIABLE, f"{socket.gethostname()}-{os.getpid()}")


class Presence:
    """gone_after: seconds without a beat after which the process counts as gone."""

    def __init__(self, roll: Roll, name: str, gone_after: float = GONE_AFTER_SECONDS) -> None:
        self._roll = roll
        self._name = name
        self._gone_after = gone_after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2 * BEAT_SECONDS)
        try:
            self._go()
        except (*TRANSIENT, REFUSED) as error:
            log.warning("redis does not answer: the name will run out instead", error=str(error))

    def _say(self) -> None:
        self._roll.beat(self._name, self._gone_after)

    def _go(self) -> None:
        self._roll.leave(self._name)

    def _beat(self) -> None:
        while True:
            try:
                with STILLNESS:
                    self._say()
            except (*TRANSIENT, REFUSED) as error:
                log.warning("redis does not answer, or refuses", error=str(error))
            if self._stop.wait(BEAT_SECONDS):
                return


class WorkerPresence(Presence):
    """A worker's, which has a job to give back before it leaves.

    line: its own, kept while it is there.
    ready: set when the worker could begin a job; it is not there for anyone before.
    """

    def __init__(self, jobs: JobStore, line: Line, name: str, ready: threading.Event) -> None:
        super().__init__(jobs.present, name)
        self._jobs = jobs
        self._line: Line | None = line
        self._ready = ready

    def drain(self) -> None:
        """Asks the running job to checkpoint and go back to the queue."""
        try:
            self._jobs.drain(self._name)
        except (*TRANSIENT, REFUSED) as error:
            log.warning("redis does not answer: the job's lease will run out instead", error=str(error))

    def note_death(self, reason: str) -> None:
        """The child that ran a job is dead: the job need not wait for its lease to run out."""
        try:
            job_id = self._jobs.note_death(self._name, reason)
        except (*TRANSIENT, REFUSED) as error:
            log.warning("redis does not answer: the job's lease will run out instead", error=str(error))
        else:
            log.error("the process that ran a job died", job_id=job_id, reason=reason)

    def _say(self) -> None:
        super()._say()
        if self._line is not None:
            try:
                self._line.keep()
            except REFUSED as error:  # a user of Redis without channels, say
                log.warning("without a line: where this worker dies, its lease runs out", error=str(error))
                self._line = None

    def _go(self) -> None:
        self._jobs.leave(self._name)

    def _beat(self) -> None:
        while not self._ready.wait(READY_SECONDS):
            if self._stop.is_set():
                return
        super()._beat()
