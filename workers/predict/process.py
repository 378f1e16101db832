"""The predictor process: waits for requests, and imports torch with the first one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from app.logs import get_logger
from app.settings import Settings, get_settings
from app.store.connections import REFUSED, TRANSIENT, connect
from app.store.job_records import JobRecords
from app.store.keys import Keys
from app.store.prediction_queue import PredictionQueue
from app.store.worker_figures import WorkerFigures
from workers.figures import FiguresThread
from workers.presence import Presence, name_this_worker
from workers.threads import spin_little

if TYPE_CHECKING:
    from workers.predict.answering import Answering

WAIT_SECONDS = 1
"""How long the process sleeps at most while nothing comes: as long as it may take to notice a signal."""
OUTAGE_SECONDS = 2.0
GONE_AFTER_SECONDS = 10.0
"""More than for workers, whose beat is another process's: importing torch stops all threads for seconds."""
BATCH_TEXTS = 32
"""How many texts of several requests are put together: more would make the first one wait for the others."""
log = get_logger(__name__)


def run_predictor() -> None:
    """Answers requests until SIGTERM or Ctrl-C, and then those that it has taken."""
    settings, stop = get_settings(), threading.Event()
    spin_little()

    def end(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    client, keys = connect(settings.redis_url, outage_seconds=OUTAGE_SECONDS), Keys(settings.key_prefix)
    FiguresThread(WorkerFigures(client, keys), name_this_worker(), "predictor").start()
    predictor = Predictor(PredictionQueue(client, keys), JobRecords(client, keys), settings)
    predictor.run(stop)
    client.close()


class Predictor:
    """Takes requests, several to the same model at a time, and answers them."""

    def __init__(self, queue: PredictionQueue, jobs: JobRecords, settings: Settings) -> None:
        self._queue = queue
        self._jobs = jobs
        self._settings = settings
        self._name = name_this_worker()
        self._answering: Answering | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. While Redis is away it waits, without end."""
        presence = Presence(self._queue.present, self._name, GONE_AFTER_SECONDS)
        presence.start()
        log.info("predictor waits for requests", name=self._name)
        try:
            while not stop.is_set():
                try:
                    self._turn()
                except (*TRANSIENT, REFUSED) as error:
                    log.warning("redis does not answer, or refuses; predictions wait", error=str(error))
                    stop.wait(WAIT_SECONDS)
        finally:
            presence.leave()

    def _turn(self) -> None:
        if not self._queue.wait(WAIT_SECONDS):
            return
        taken = self._queue.take(self._name, BATCH_TEXTS)
        if taken is not None:
            self._answering = self._answering or self._begin()
            self._answering.answer(taken)

    def _begin(self) -> Answering:
        from app.store.results import ResultStore
        from workers.predict.answering import Answering  # brings torch, which an idle process does without
        from workers.predict.kept_models import KeptModels

        return Answering(self._queue, KeptModels(self._jobs, ResultStore(self._settings.data_url)))
