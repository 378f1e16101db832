"""What the storm does to the service."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from app.queue import make_celery, send_hint
from app.store.state import open_state
from tests.chaos.aof import Cut
from tests.chaos.plan import Plan
from tests.chaos.service import Process, Service
from tests.chaos.watching import Jobs

BUSY_SECONDS = 20.0
"""How long a blow waits for its moment, such as a worker that trains: a service that only starts is not worth
striking."""
LOOK_SECONDS = 0.1
T = TypeVar("T")


@dataclass
class Blows:
    """Counts of what was done."""

    kills: int = 0
    kills_at_work: int = 0
    stops: int = 0
    cuts: list[Cut] = field(default_factory=list)
    duplicates: int = 0
    lost: int = 0


class Storm:
    """Deals the blows; from the thread that started the service, on which the lives of the parts hang."""

    def __init__(self, service: Service, jobs: Jobs, plan: Plan) -> None:
        self._service = service
        self._jobs = jobs
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._state = open_state(service.settings, outage_seconds=30)
        self._celery = make_celery(service.settings)
        self._asleep: list[tuple[float, Process]] = []
        self.done = Blows()

    def schedule(self) -> list[str]:
        """The blows in random order."""
        plan = self._plan
        blows = ["kill"] * plan.kills + ["stop"] * plan.stops + ["redis"] * plan.redis_kills
        self._random.shuffle(blows)
        return blows

    def pause(self) -> float:
        return self._random.uniform(0.5, 1.5) * self._plan.kill_seconds

    def tick(self) -> None:
        """What must go on between blows: the dead come back, the stopped go on."""
        self._service.revive()
        now = time.monotonic()
        for wake_at, worker in self._asleep:
            if wake_at <= now:
                self._wake(worker)
        self._asleep = [(wake_at, worker) for wake_at, worker in self._asleep if wake_at > now]

    def strike(self, blow: str) -> None:
        if blow == "kill":
            self._kill_worker()
        elif blow == "stop":
            self._stop_worker()
        else:
            self._kill_server()

    def calm(self) -> None:
        """Wakes who sleeps."""
        for _, worker in self._asleep:
            self._wake(worker)
        self._asleep.clear()

    def close(self) -> None:
        self.calm()
        self._state.close()
        self._celery.close()

    def duplicate_hints(self, count: int) -> None:
        """Messages twice, and others gone: copies of what waits, and new ones that nothing asked for."""
        queue = self._state.keys.celery_queue
        for _ in range(count):
            waiting = cast("list[bytes]", self._state.client.lrange(queue, 0, -1))
            if waiting and self._random.random() < 0.5:
                self._state.client.lpush(queue, self._random.choice(waiting))
            else:
                send_hint(self._celery)
            self.done.duplicates += 1
        if self._random.random() < 0.3:
            self.done.lost += len(cast("list[bytes]", self._state.client.lrange(queue, 0, -1)))
            self._state.client.delete(queue)

    # -- blows -----------------------------------------------------------------------------------------
    def _kill_worker(self) -> None:
        worker, job_id = self._victim()
        worker.kill()
        if job_id is not None:
            self._jobs.struck(job_id)
            self.done.kills_at_work += 1
        self.done.kills += 1
        worker.launch()

    def _stop_worker(self) -> None:
        worker, _ = self._victim()
        worker.signal_all(signal.SIGSTOP)
        worker.stopped = True
        asleep = self._service.settings.lease_seconds + self._random.uniform(*self._plan.sleep)
        self._asleep.append((time.monotonic() + asleep, worker))
        self.done.stops += 1

    def _kill_server(self) -> None:
        """Every second time while a job begins: what it notes then, it does not note again at each step."""
        if self._random.random() < 0.5:
            self._wait_for(self._jobs.one_begins)
        self._jobs.disturb()
        self.done.cuts.append(self._service.lose_tail(self._random))

    def _wake(self, worker: Process) -> None:
        worker.signal_all(signal.SIGCONT)
        worker.stopped = False

    def _victim(self) -> tuple[Process, str | None]:
        """A worker that is training and the job's id, nine times in ten; else, or where none is, any."""
        if self._random.random() < 0.9 and (training := self._wait_for(self._training)):
            return self._random.choice(training)
        worker = self._random.choice(self._awake())
        return worker, self._job_of(worker)

    def _wait_for(self, find: Callable[[], T]) -> T:
        """What is found as soon as there is something, or what is there when a blow can wait no longer."""
        deadline = time.monotonic() + BUSY_SECONDS
        while not (found := find()) and time.monotonic() < deadline:
            self.tick()
            time.sleep(LOOK_SECONDS)
        return found

    def _training(self) -> list[tuple[Process, str]]:
        busy = [(worker, job) for worker in self._awake() if (job := self._job_of(worker)) is not None]
        return [(worker, job) for worker, job in busy if self._jobs.steps(job)]

    def _awake(self) -> list[Process]:
        return [worker for worker in self._service.workers if worker.alive() and not worker.stopped]

    def _job_of(self, worker: Process) -> str | None:
        name = worker.worker_name.encode()
        for job_id in list(self._jobs.running):
            held = self._state.client.hmget(self._state.keys.jobs.record(job_id), "state", "worker")
            if held == [b"running", name]:
                return job_id
        return None
