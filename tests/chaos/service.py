"""The real service, part by part: an embedded Valkey, the API, workers; each can be struck and comes back."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.guard import guarded
from tests.chaos.aof import Cut, cut_tail
from tests.chaos.faults import ROOT, faulty_source
from tests.chaos.plan import Plan

READY_SECONDS = 180.0


class Process:
    """One part in a session of its own; dies with this process."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        self._command, self._environment, self._log = command, dict(environment), log
        self.stopped = False
        self.launch()

    def launch(self) -> None:
        self.popen = subprocess.Popen(
            guarded(self._command),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def worker_name(self) -> str:
        """What it goes by, where it is a worker."""
        return f"{socket.gethostname()}-{self.pid}"

    def alive(self) -> bool:
        return self.popen.poll() is None

    def signal_all(self, number: signal.Signals) -> None:
        """To the part and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            for process in [*leader.children(recursive=True), leader]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def kill(self) -> None:
        self.signal_all(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        self.stopped = False


class Service:
    """Starts and stops the parts. To be used from one thread: the parts' lives hang on it."""

    def __init__(self, work: Path, plan: Plan, **settings: Any) -> None:
        self.data_dir = work / "data"
        self.data_dir.mkdir(exist_ok=True)
        self.server = EmbeddedRedis(self.data_dir).start()
        self.settings = Settings(
            redis_url=self.server.url,
            data_url=str(self.data_dir),
            checkpoint_seconds=0.5,
            lease_seconds=plan.lease_seconds,
            heartbeat_seconds=plan.lease_seconds / 6,
            flush_seconds=0.1,
            max_crashes=10_000,
            log_format="json",
            **settings,
        )
        self.log_path = work / "service.log"
        self._log = self.log_path.open("ab")
        self._port = _free_port()
        environment = self._environment(work, plan)
        cli = [sys.executable, "-P", "-m", "app.cli"]
        self.api = Process([*cli, "serve", "--port", str(self._port)], environment, self._log)
        self.workers = [Process([*cli, "worker"], environment, self._log) for _ in range(plan.workers)]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _environment(self, work: Path, plan: Plan) -> dict[str, str]:
        source = ROOT if plan.fault is None else faulty_source(plan.fault, work / "source")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
        settings = {
            f"GRADSIFT_{name.upper()}": str(getattr(self.settings, name))
            for name in self.settings.model_fields_set
        }
        # One thread: a tiny model gains nothing from a second one, and sums are the same to the bit.
        return clean | settings | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        with httpx.Client(base_url=self.address, timeout=5) as http:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if http.get("/readyz").status_code == httpx.codes.OK:
                        return
                time.sleep(0.1)
        raise TimeoutError(f"the service is not ready; see {self.log_path}")

    def revive(self) -> None:
        """Starts again what has died, as an operator's supervisor does."""
        for part in (self.api, *self.workers):
            if not part.alive():
                part.kill()
                part.launch()

    def lose_tail(self, random_source: random.Random) -> Cut:
        """Kills the server, cuts the end of what it had not promised to keep, and starts it again."""
        self.server.kill()
        while self.server.poll() is None:
            time.sleep(0.01)
        cut = cut_tail(self.server.directory / "appendonlydir", random_source)
        self.server.start()
        return cut

    def close(self) -> None:
        for part in (*self.workers, self.api):
            part.kill()
        self.server.kill()
        self.server.stop()
        self._log.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
