"""Says in Redis that this worker is there, and that it is leaving."""

from __future__ import annotations

import os
import socket
import threading

from app.logs import get_logger
from app.store.connections import REFUSED, TRANSIENT
from app.store.jobs import JobStore

BEAT_SECONDS = 1.0
GONE_AFTER_SECONDS = 5.0
NAME_VARIABLE = "GRADSIFT_WORKER_NAME"
log = get_logger(__name__)


def name_this_worker() -> str:
    """The name that this process and the children it starts go by."""
    return os.environ.setdefault(NAME_VARIABLE, f"{socket.gethostname()}-{os.getpid()}")


class Presence:
    def __init__(self, jobs: JobStore, name: str) -> None:
        self._jobs = jobs
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def drain(self) -> None:
        """Asks the running job to checkpoint and go back to the queue."""
        try:
            self._jobs.drain(self._name)
        except (*TRANSIENT, REFUSED) as error:
            log.warning("redis does not answer: the job's lease will run out instead", error=str(error))

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2 * BEAT_SECONDS)
        try:
            self._jobs.leave(self._name)
        except (*TRANSIENT, REFUSED) as error:
            log.warning("redis does not answer: the worker's name will run out instead", error=str(error))

    def _beat(self) -> None:
        while True:
            try:
                self._jobs.beat(self._name, GONE_AFTER_SECONDS)
            except (*TRANSIENT, REFUSED) as error:
                log.warning("redis does not answer, or refuses", error=str(error))
            if self._stop.wait(BEAT_SECONDS):
                return
