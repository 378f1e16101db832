"""A machine is emptied under load: its API and its worker are told to stop, others of both go on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from app.store.guard import guarded
from app.store.state import State
from tests.models.tiny import build_tiny_bert
from tests.processes import wait_until
from tests.serving.clients import Clients, unanswered
from tests.serving.process import Serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
EPOCHS, ROWS = 12, 400
ENDED = ("succeeded", "failed", "cancelled")


class Worker:
    """A started `gradsift worker` with a log of its own."""

    def __init__(self, settings: Settings, log: Path) -> None:
        own = {f"GRADSIFT_{name.upper()}": str(getattr(settings, name)) for name in settings.model_fields_set}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                guarded([sys.executable, "-m", "app.cli", "worker"]),
                env=clean | own | {"GRADSIFT_LOG_FORMAT": "json", "OMP_NUM_THREADS": "1"},
                stdout=stream,
                stderr=stream,
            )

    def told(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


@pytest.fixture
def workers(
    make_settings: Callable[..., Settings], state: State, tmp_path: Path
) -> Iterator[tuple[Worker, Worker]]:
    """Two, of which both count as there."""
    build_tiny_bert(tmp_path / "models" / "tiny", dropout=0.1)
    settings = make_settings(checkpoint_seconds=0.5, flush_seconds=0.1)
    with ExitStack() as stack:
        first, second = (Worker(settings, tmp_path / f"worker-{number}.log") for number in range(2))
        stack.callback(first.stop)
        stack.callback(second.stop)
        wait_until(lambda: state.jobs.present.count() == 2, 90)
        yield first, second


def job_at(http: httpx.Client, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    job: dict[str, Any] = {}

    def so_far() -> bool:
        job.update(http.get(f"/v1/jobs/{job_id}").json())
        return holds(job)

    wait_until(so_far, 90)
    return job


def is_well_into_training(job: dict[str, Any]) -> bool:
    return job["progress"]["phase"] == "training" and job["progress"]["step"] > 20


def test_nothing_is_lost_where_an_api_and_a_worker_go(
    started: Callable[..., Serve], workers: tuple[Worker, Worker], state: State
) -> None:
    rows = [{"id": f"r{n}", "text": f"dress {n}", "label": n % 2} for n in range(ROWS)]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, ExitStack() as stack:
        listener.set_inheritable(True)
        first = started(listener=listener, drain_seconds="0.5", reaper_seconds="0.5")
        second = started(listener=listener, reaper_seconds="0.5")
        http = stack.enter_context(first.http(headers={"Connection": "close"}))
        for name, samples in (("scored", rows), ("d", [{"id": "a", "text": "some text"}])):
            assert http.put(f"/v1/datasets/{name}", json={"task": "classification"}).status_code == 201
            answer = http.post(f"/v1/datasets/{name}/samples", json={"samples": samples})
            assert answer.json()["created"] == len(samples)
        params = {"num_train_epochs": EPOCHS, "max_length": 16, "per_device_train_batch_size": 8}
        body = {"dataset": "scored", "kind": "score", "model": "tiny", "params": params}
        job_id = http.post("/v1/jobs", json=body).json()["id"]
        clients = Clients(first.port, 6, polled=f"/v1/jobs/{job_id}")
        stack.callback(clients.stop)
        job_at(http, job_id, is_well_into_training)
        holder, other = sorted(workers, key=lambda worker: not worker.told("job claimed"))
        assert other.told("job claimed") == []

        first.terminate()
        assert holder.stop() == 0
        assert first.process.wait(40) == 0
        job = job_at(http, job_id, lambda job: job["state"] in ENDED)
        clients.stop()

        assert (job["state"], job["attempt"], job["error"]) == ("succeeded", 2, None)
        assert other.told("job resumes")[0]["step"] > 20
        ids = [row["id"] for row in rows]
        scores = http.post("/v1/datasets/scored/scores/lookup", json={"ids": ids}).json()["scores"]
        assert {score["visits"] for score in scores} == {EPOCHS}
        assert second.process.poll() is None
    assert unanswered(clients.told) == {}
    assert clients.told["refused to connect"] == 0
    assert clients.told["200"] > 50
    found = state.ids.entries(state.datasets.get("d"), sorted(clients.stored))
    assert all(entry is not None and entry.stored for entry in found)
    assert len(found) > 5
