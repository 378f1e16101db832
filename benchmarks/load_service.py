"""The service under load: API, worker with score jobs, embedded Valkey; every process's memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
from api_servers import ServerProcess, started
from api_state import fill

from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state

Usage = dict[str, float]
"""Resident megabytes by part; of the worker with its children."""
_JOB_ROWS = 3_000
_FOLLOWED = "followed"


class LoadedService:
    """Context manager.

    Args:
        job: keep a score job running beside the traffic.
        client_cores: where clients may run.
    """

    def __init__(self, samples: int, *, job: bool, client_cores: set[int]) -> None:
        self.samples = samples
        self.client_cores = client_cores
        self._with_job = job
        self._stack = contextlib.ExitStack()
        self.job = "none"

    def __enter__(self) -> Self:
        root = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        (root / "redis").mkdir()
        self._redis = self._stack.enter_context(EmbeddedRedis(root / "redis"))
        settings = Settings(redis_url=self._redis.url, data_url=str(root))
        self._state: State = open_state(settings)
        self._stack.callback(self._state.close)
        fill(self._state, self.samples)
        env = {
            "GRADSIFT_REDIS_URL": self._redis.url,
            "GRADSIFT_DATA_URL": str(root),
            "GRADSIFT_LOG_FORMAT": "json",
            "GRADSIFT_DRAIN_SECONDS": "0",
            "GOMP_SPINCOUNT": "20000",
            "OMP_NUM_THREADS": "1",
        }
        cores = psutil.Process().cpu_affinity()
        self._api: ServerProcess = self._stack.enter_context(started(["-m", "app.cli", "serve"], cores, env))
        self.port = self._api.pid and self._api.port
        self._http = self._stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        )
        self._prepare()
        self._worker: subprocess.Popen[bytes] | None = None
        if self._with_job:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "worker"],
                env={**psutil.Process().environ(), **env},
                stderr=subprocess.DEVNULL,
            )
            self._stack.callback(self._stop_worker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _stop_worker(self) -> None:
        assert self._worker is not None
        self._worker.terminate()
        self._worker.wait()

    def _prepare(self) -> None:
        for number in range(4):
            self._sent("PUT", f"/v1/datasets/rows-{number}", {"task": "classification"})
        self._sent("PUT", f"/v1/datasets/{_FOLLOWED}", {"task": "classification"})
        words = ("lovely soft dress", "awful rough coat")
        rows = [{"id": f"r{n}", "text": f"{words[n % 2]} {n}", "label": n % 2} for n in range(_JOB_ROWS)]
        self._sent("POST", f"/v1/datasets/{_FOLLOWED}/samples", {"samples": rows})
        self.send_job()

    def _sent(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.request(method, path, json=body)
        answer.raise_for_status()
        return dict(answer.json())

    def send_job(self) -> None:
        """Ones that take some minutes; several, so that one always runs."""
        small = {"num_hidden_layers": 2}
        params = {"num_train_epochs": 3, "max_length": 32, "model_config": small}
        for _ in range(8 if self._with_job else 1):
            body = {"dataset": _FOLLOWED, "kind": "score", "model": "demo", "params": params}
            self.job = str(self._sent("POST", "/v1/jobs", body)["id"])

    def warm_up(self) -> None:
        """Until the worker is at work."""
        deadline = time.monotonic() + 120
        while self._with_job and time.monotonic() < deadline:
            if self._http.get("/v1/jobs", params={"state": "running"}).json()["items"]:
                return
            time.sleep(0.5)

    def jobs_ended(self) -> str:
        jobs = self._http.get("/v1/jobs", params={"limit": 100}).json()["items"]
        ended = [job["state"] for job in jobs if job["state"] in ("succeeded", "failed", "cancelled")]
        return ", ".join(f"{ended.count(state)} {state}" for state in sorted(set(ended))) or "none"

    def parts(self) -> list[str]:
        return list(self.usage())

    def usage(self) -> Usage:
        redis = int(self._state.client.info("server")["process_id"])  # type: ignore[index]
        pids = {"API": self._api.pid, "Redis": redis}
        if self._worker is not None:
            pids["worker"] = self._worker.pid
        return {part: _family_mb(pid) for part, pid in pids.items()}

    def lost_rows(self, firsts: list[str]) -> int:
        """Of the requests with rows that were accepted, how many rows are not there."""
        lost = 0
        for number in range(4):
            dataset = self._state.datasets.get(f"rows-{number}")
            ids = [f"{first}-{n}" for first in firsts for n in range(100) if _dataset_of(first) == number]
            found = [
                entry
                for at in range(0, len(ids), 5000)
                for entry in self._state.ids.entries(dataset, ids[at : at + 5000])
            ]
            lost += sum(entry is None or not entry.stored for entry in found)
        return lost


def _dataset_of(first: str) -> int:
    return int(first.rpartition("-")[2]) % 4


def _family_mb(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family) / 2**20
    except psutil.NoSuchProcess:
        return float("nan")
