"""Keeps the queue filled, follows every job, and times how soon a killed job makes steps again."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.clients import ENDED, Client, Dataset
from tests.chaos.kinds import MOVING_KINDS, kind_of, planned_visits
from tests.chaos.plan import Plan

POLL_SECONDS = 0.2
AT_WORK = ("training", "round")
BEGINNING = ("loading", "tokenizing")


@dataclass(frozen=True)
class Struck:
    """A job whose worker was killed: when, and at which attempt."""

    at: float
    attempt: int


class Jobs(threading.Thread):
    """Fewer jobs at a time than there are workers, so that a killed job finds one."""

    def __init__(self, client: Client, datasets: list[Dataset], plan: Plan) -> None:
        super().__init__(name="jobs", daemon=True)
        self._client = client
        self._datasets = datasets
        self._plan = plan
        self._random = random.Random(plan.seed + 2)
        self._lock = threading.Lock()
        self._struck: dict[str, Struck] = {}
        self.running: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, dict[str, Any]] = {}
        self.recoveries: list[float] = []
        self.disturbed = 0
        self.planned = 0
        self.enough = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not (self.enough.is_set() and not self.running):
                if not self.enough.is_set():
                    self._fill()
                for job_id in list(self.running):
                    self._look(job_id)
                time.sleep(POLL_SECONDS)
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.failure = error

    def steps(self, job_id: str) -> bool:
        """Whether the job's present attempt makes steps."""
        job = self.running.get(job_id)
        return job is not None and job["state"] == "running" and _steps_again(job)

    def one_begins(self) -> bool:
        """Whether a running job has not come to its first step, as far as was seen last."""
        jobs = list(self.running.values())
        return any(job["state"] == "running" and job["progress"]["phase"] in BEGINNING for job in jobs)

    def struck(self, job_id: str) -> None:
        """The job's worker was killed just now; a job that was about to recover is struck again."""
        with self._lock:
            job = self.running.get(job_id)
            self.disturbed += self._struck.pop(job_id, None) is not None
            if job is not None and job["progress"]["phase"].startswith(AT_WORK):
                self._struck[job_id] = Struck(time.monotonic(), job["attempt"])

    def disturb(self) -> None:
        """The server was killed: what recovers now waits for that too."""
        with self._lock:
            self.disturbed += len(self._struck)
            self._struck.clear()

    def _fill(self) -> None:
        while len(self.running) < max(1, self._plan.workers - self._plan.spare):
            busy = {job["dataset"] for job in self.running.values()}
            free = [
                dataset
                for dataset in self._datasets
                if dataset.name not in busy
                and not (dataset.moving and len(dataset.jobs) >= len(MOVING_KINDS))
            ]
            if not free:
                return
            dataset = min(free, key=lambda one: (len(one.jobs), one.name))
            kind = kind_of(len(dataset.jobs), moving=dataset.moving)
            job_id = self._client.submit(dataset, kind, fresh=self._random.random() < 0.1)
            self.running[job_id] = self._client.job(job_id)
            self.planned += len(dataset.contents) * planned_visits(kind, self._plan)

    def _look(self, job_id: str) -> None:
        job = self._client.job(job_id)
        with self._lock:
            struck = self._struck.get(job_id)
            if struck is not None and job["attempt"] > struck.attempt and _steps_again(job):
                self.recoveries.append(time.monotonic() - struck.at)
                del self._struck[job_id]
            self.running[job_id] = job
            if job["state"] in ENDED:
                self.ended[job_id] = self.running.pop(job_id)


def _steps_again(job: dict[str, Any]) -> bool:
    """Whether this attempt has made a step: only then it knows its pace."""
    return job["state"] in ENDED or job["progress"]["samples_per_second"] is not None
