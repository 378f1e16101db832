"""How soon a job makes steps again after single blows to its worker, on a machine that does nothing else.

python -m tests.chaos.recovery --repeats 10 --only "whole worker"

Prints a Markdown table: seconds from the blow to the first step of the resumed job, as a client sees it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from app.store.state import State, open_state
from tests.chaos.clients import Client, Dataset, some_contents
from tests.chaos.plan import Plan
from tests.chaos.run import service_in
from tests.chaos.service import Process, Service
from tests.chaos.truth import make_pool
from tests.processes import wait_until

SAMPLES = 3_000
PLAN = Plan(workers=2, epochs=1_000, batch=128)
"""Jobs that are longer than anyone waits: each is cancelled."""
SETTLED_SECONDS = 2.0
"""At work for so long, a worker has checkpoints, and its line has been seen."""
PATIENCE_SECONDS = 180.0

Blow = Callable[[Service, Process], None]


def kill_child(_: Service, worker: Process) -> None:
    (child,) = [
        one for one in psutil.Process(worker.pid).children(recursive=True) if one.name() != "resource_tracker"
    ]
    child.kill()


def kill_worker(_: Service, worker: Process) -> None:
    worker.kill()


def stop_worker(_: Service, worker: Process) -> None:
    os.kill(worker.pid, signal.SIGTERM)


def replace_worker(service: Service, worker: Process) -> None:
    """A second one is started at the moment when the first is told to stop."""
    (other,) = [one for one in service.workers if one is not worker]
    other.launch()
    os.kill(worker.pid, signal.SIGTERM)


BLOWS: dict[str, tuple[Blow, int]] = {
    "kill -9 of the child, a loaded worker idle beside it": (kill_child, 2),
    "kill -9 of the child, no other worker": (kill_child, 1),
    "kill -9 of the whole worker, a loaded worker idle beside it": (kill_worker, 2),
    "SIGTERM, a loaded worker idle beside it": (stop_worker, 2),
    "SIGTERM, a second worker started at the same moment": (replace_worker, 1),
}
"""What is done to the worker that trains, and how many workers are there when it is done."""


class Bench:
    """Two workers, of which as many run as a blow asks for."""

    def __init__(self, service: Service, client: Client, state: State, dataset: Dataset) -> None:
        self._service = service
        self._client = client
        self._state = state
        self._dataset = dataset

    def seconds(self, blow: Blow, workers: int) -> float:
        self._have(workers)
        job_id = self._client.submit(self._dataset)
        before = self._await(job_id, lambda job: job["progress"]["samples_per_second"] is not None)
        time.sleep(SETTLED_SECONDS)
        worker = self._worker_of(job_id)
        struck = time.monotonic()
        blow(self._service, worker)
        self._await(
            job_id,
            lambda job: (
                job["attempt"] > before["attempt"] and job["progress"]["samples_per_second"] is not None
            ),
        )
        took = time.monotonic() - struck
        self._client.ask("POST", f"/v1/jobs/{job_id}/cancel")
        self._await(job_id, lambda job: job["state"] == "cancelled")
        worker.kill()  # one that was told to stop is still there for a moment
        return took

    def _have(self, count: int) -> None:
        """So many workers, each loaded; the others are not there."""
        for number, worker in enumerate(self._service.workers):
            if number >= count:
                worker.kill()
            elif not worker.alive():
                worker.kill()
                worker.launch()
        names = {worker.worker_name for worker in self._service.workers[:count]}
        wait_until(lambda: self._present() == names, PATIENCE_SECONDS)

    def _present(self) -> set[str]:
        seconds, micros = self._state.client.time()
        now_ms = seconds * 1000 + micros / 1000
        names = self._state.client.zrangebyscore(self._state.keys.jobs.workers, now_ms, "+inf")
        return {name.decode() for name in cast("list[bytes]", names)}

    def _worker_of(self, job_id: str) -> Process:
        held = self._state.client.hget(self._state.keys.jobs.record(job_id), "worker")
        assert isinstance(held, bytes)
        (worker,) = [one for one in self._service.workers if one.worker_name == held.decode()]
        return worker

    def _await(self, job_id: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        job = self._client.job(job_id)

        def holds() -> bool:
            nonlocal job
            job = self._client.job(job_id)
            return done(job)

        wait_until(holds, PATIENCE_SECONDS)
        return job


@contextmanager
def bench_with(plan: Plan) -> Iterator[Bench]:
    source = random.Random(plan.seed)
    pool = make_pool(500, source)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gradsift-recovery-")))
        service = stack.enter_context(service_in(work, plan))
        client, dataset = Client(service.address, pool, plan), Dataset("d", moving=False)
        stack.callback(client.close)
        state = open_state(service.settings, outage_seconds=30)
        stack.callback(state.close)
        client.create(dataset, some_contents([f"s{n:07}" for n in range(SAMPLES)], pool, source))
        yield Bench(service, client, state, dataset)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="blows whose name has this in it")
    asked = parser.parse_args()
    print("| blow | times | median, max, s | load average |\n|---|---|---|---|", flush=True)
    with bench_with(PLAN) as bench:
        for name, (blow, workers) in BLOWS.items():
            if asked.only in name:
                took = [bench.seconds(blow, workers) for _ in range(asked.repeats)]
                load = os.getloadavg()[0]
                print(
                    f"| {name} | {len(took)} | {np.median(took):.1f}, {max(took):.1f} | {load:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
