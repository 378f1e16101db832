"""A started `gradsift up`, driven only over HTTP; its processes found as an operator would find them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

READY_SECONDS = 120.0
JOB_SECONDS = 90.0


class Service:
    """One `gradsift up` on a data directory; may be killed and started again."""

    def __init__(self, data_dir: Path, log: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self._log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client()

    def start(self) -> None:
        command = [sys.executable, "-m", "app.cli", "up", "--port", "0", "--data-dir", str(self.data_dir)]
        settings = {
            "GRADSIFT_CHECKPOINT_SECONDS": "0.5",
            "GRADSIFT_FLUSH_SECONDS": "0.1",
            "GRADSIFT_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",  # a tiny model gains nothing from a second one
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
        offset = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            environment = clean | settings | self.environment
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.http.close()
        self.http = httpx.Client(base_url=self._address(offset), timeout=30)

    def _address(self, offset: int) -> str:
        """What `up` prints once it is ready."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            text = self.log()[offset:]
            if "is ready at " in text:
                return text.partition("is ready at ")[2].split()[0].strip('",')
            assert self.process is not None
            assert self.process.poll() is None, text
            time.sleep(0.05)
        raise AssertionError(f"not ready after {READY_SECONDS} s:\n{self.log()[-4000:]}")

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        """The Celery worker's parent process."""
        return next(p for p in self.family() if p.cmdline()[-3:] == ["-m", "app.cli", "worker"])

    def kill_everything(self) -> None:
        assert self.process is not None
        for process in [*self.family(), psutil.Process(self.process.pid)]:
            process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ctrl-C, as a terminal sends it; answers the exit code."""
        assert self.process is not None
        family = self.family()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == [], [p.cmdline() for p in alive if p.is_running()]
        return code

    # -- what clients do -------------------------------------------------------------------------------------
    def create(self, name: str, rows: list[dict[str, Any]], task: str = "classification") -> None:
        assert self.http.put(f"/v1/datasets/{name}", json={"task": task}).status_code == 201
        answer = self.http.post(f"/v1/datasets/{name}/samples", json={"samples": rows})
        assert answer.status_code == 200, answer.text
        assert answer.json()["created"] == len(rows)

    def score(self, dataset: str, **params: Any) -> str:
        body = {"dataset": dataset, "kind": "score", "model": "tiny", "params": params}
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/jobs/{job_id}").json())

    def wait(self, job_id: str, *, until: str = "ended", seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """Until the job has ended, or is so far: "half" of its steps."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.job(job_id)
            ended = job["state"] in ("succeeded", "failed", "cancelled")
            if ended or (until == "half" and job["progress"]["fraction"] > 0.4):
                return job
            time.sleep(0.05)
        raise AssertionError(f"{job}\n{self.log()[-6000:]}")

    def walk(self, dataset: str, set_name: str, limit: int = 7) -> Iterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            url = f"/v1/datasets/{dataset}/sets/{set_name}"
            page = self.http.get(url, params={"limit": str(limit), **cursor}).json()
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def scores(self, dataset: str, ids: list[str]) -> list[dict[str, Any]]:
        answer = self.http.post(f"/v1/datasets/{dataset}/scores/lookup", json={"ids": ids})
        return list(answer.json()["scores"])
