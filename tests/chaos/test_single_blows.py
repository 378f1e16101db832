"""One blow at a time against the real service: what exactly happens to the job that meets it."""

from __future__ import annotations

import json
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.store.state import State, open_state
from tests.chaos.clients import Client, Dataset, some_contents
from tests.chaos.plan import Plan
from tests.chaos.run import service_in
from tests.chaos.service import Process, Service
from tests.chaos.truth import make_pool
from tests.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
Trouble = Callable[[Service], Callable[[], object]]
"""Makes it, and answers what ends it."""
PLAN = Plan(workers=2, samples=600, epochs=20, batch=8, lease_seconds=2.0)
SECONDS = 90.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service_in(tmp_path_factory.mktemp("blows"), PLAN) as service:
        yield service


@pytest.fixture
def state(service: Service) -> Iterator[State]:
    state = open_state(service.settings, outage_seconds=20)
    yield state
    state.close()


class Run:
    """A dataset of its own and a job on it that has begun to train."""

    def __init__(self, service: Service, state: State, name: str) -> None:
        self._service, self._state = service, state
        pool = make_pool(100, random.Random(0))
        self.client = Client(service.address, pool, PLAN)
        self.dataset = Dataset(name, moving=False)
        ids = [f"s{number:04}" for number in range(PLAN.samples)]
        self.client.create(self.dataset, some_contents(ids, pool, random.Random(1)))
        self.begin()

    def begin(self) -> None:
        self.job_id = self.client.submit(self.dataset)
        wait_until(lambda: self.job()["progress"]["samples_per_second"] is not None, SECONDS)

    def job(self) -> dict[str, Any]:
        return self.client.job(self.job_id)

    def worker(self) -> Process:
        held = self._state.client.hget(self._state.keys.jobs.record(self.job_id), "worker")
        assert isinstance(held, bytes)
        pid = int(held.decode().rpartition("-")[2])
        return next(worker for worker in self._service.workers if worker.pid == pid)

    def ended(self) -> dict[str, Any]:
        wait_until(lambda: self.job()["state"] not in ("queued", "running"), SECONDS)
        return self.job()

    def visits(self) -> set[int]:
        scores = self.client.scores(self.dataset.name, sorted(self.dataset.contents))
        return {score["visits"] for score in scores if score is not None}


def log_of(service: Service) -> list[dict[str, Any]]:
    lines = service.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def crashes(state: State, job_id: str) -> int:
    return int(state.client.hget(state.keys.jobs.record(job_id), "crashes") or 0)


# -- a worker that slept past its lease ----------------------------------------------------------------
def test_a_worker_that_slept_writes_nothing_notices_and_takes_the_next_job(
    service: Service, state: State
) -> None:
    run = Run(service, state, "slept")
    sleeper = run.worker()
    sleeper.signal_all(signal.SIGSTOP)
    try:
        job = run.ended()
        assert (job["state"], job["attempt"]) == ("succeeded", 2)
        before = run.client.scores("slept", sorted(run.dataset.contents))
    finally:
        sleeper.signal_all(signal.SIGCONT)

    def noticed() -> bool:
        return any(
            entry["event"] == "job lost to another worker" and entry.get("job_id") == run.job_id
            for entry in log_of(service)
        )

    wait_until(noticed, SECONDS)
    assert run.client.scores("slept", sorted(run.dataset.contents)) == before
    other = next(worker for worker in service.workers if worker is not sleeper)
    other.signal_all(signal.SIGSTOP)
    try:
        run.begin()
        assert run.worker() is sleeper
        assert run.ended()["state"] == "succeeded"
    finally:
        other.signal_all(signal.SIGCONT)
    assert run.visits() == {2 * PLAN.epochs}


# -- a server that is away or refuses ------------------------------------------------------------------
def killed(service: Service) -> Callable[[], object]:
    service.server.kill()
    wait_until(lambda: service.server.poll() is not None)
    return service.server.start


def frozen(service: Service) -> Callable[[], object]:
    assert service.server.pid is not None
    process = psutil.Process(service.server.pid)
    process.suspend()
    return process.resume


def without_memory(service: Service) -> Callable[[], object]:
    state = open_state(service.settings)
    state.client.config_set("maxmemory", 1)

    def end() -> None:
        state.client.config_set("maxmemory", 0)
        state.close()

    return end


def without_disk(service: Service) -> Callable[[], object]:
    """As on a full disk: the server's file cannot grow."""
    process = psutil.Process(service.server.pid)
    unlimited = resource.RLIM_INFINITY
    process.rlimit(resource.RLIMIT_FSIZE, (1, unlimited))
    return partial(process.rlimit, resource.RLIMIT_FSIZE, (unlimited, unlimited))


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (killed, "service_unavailable"),
        (frozen, None),
        (without_memory, "redis_out_of_memory"),
        (without_disk, "redis_disk_error"),
    ],
)
def test_a_job_waits_for_its_server_and_does_not_fail(
    service: Service, state: State, trouble: Trouble, code: str | None
) -> None:
    """Nobody takes the job meanwhile, no crash is counted, no visit is lost or doubled."""
    run = Run(service, state, trouble.__name__)
    end = trouble(service)
    try:
        time.sleep(2 * PLAN.lease_seconds)
        if code is not None:
            assert refusal_of(service, run.dataset.name) == code
    finally:
        end()
    job = run.ended()
    assert (job["state"], job["attempt"], crashes(state, run.job_id)) == ("succeeded", 1, 0), job
    assert run.visits() == {PLAN.epochs}
    wait_until(lambda: httpx.get(f"{service.address}/readyz").status_code == httpx.codes.OK, SECONDS)
    stored = run.client.ask("GET", f"/v1/datasets/{run.dataset.name}")
    assert stored["samples"] == PLAN.samples, "refused rows were half stored"
    run.client.send(run.dataset, {"late": (0, 0)})
    assert run.client.scores(run.dataset.name, ["late"]) != [None]


def refusal_of(service: Service, dataset: str) -> str:
    """The code with which an upload is refused."""
    body = {"samples": [{"id": "late", "text": "good", "label": 0}]}
    answer = httpx.post(f"{service.address}/v1/datasets/{dataset}/samples", json=body, timeout=30)
    assert answer.status_code == 503, answer.text
    assert answer.json()["remedy"]
    return str(answer.json()["code"])


# -- workers killed -------------------------------------------------------------------------------------
def test_a_killed_workers_job_makes_steps_again_within_seconds(service: Service, state: State) -> None:
    run = Run(service, state, "killed-worker")
    run.worker().kill()
    struck = time.monotonic()
    wait_until(lambda: run.job()["attempt"] == 2 and run.job()["progress"]["step"] > 0, SECONDS)
    assert time.monotonic() - struck < PLAN.lease_seconds + 8.0
    service.revive()
    assert run.ended()["state"] == "succeeded"
    assert run.visits() == {PLAN.epochs}


# -- stopping the storm ----------------------------------------------------------------------------------
def test_a_storm_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    from tests.chaos import run

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.tempfile, "tempdir", str(tmp_path))
        with pytest.raises(KeyboardInterrupt):
            run.run_storm(replace(PLAN, kills=1, stops=0, redis_kills=0, kill_seconds=0.1), stop)
    assert list(tmp_path.iterdir()) == []
    left = [
        p.cmdline() for p in psutil.Process().children(recursive=True) if str(tmp_path) in str(p.cmdline())
    ]
    assert left == []
