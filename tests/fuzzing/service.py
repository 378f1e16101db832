"""A started `gradsift serve` with something in it to ask for; no worker, so that jobs stay queued."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.contracts import JobState
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state
from tests.playing import Player

KEPT = "kept"
"""A dataset with scores and sets; the fuzzer is kept from deleting it."""
ROWS = 12
READY_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Fuzzed:
    """Where it is, and the job that made the sets of the kept dataset."""

    url: str
    job: str
    log: Path


@contextmanager
def fuzzed_service(root: Path, *, key: str | None = None) -> Iterator[Fuzzed]:
    data, log = root / "data", root / "serve.log"
    with EmbeddedRedis(data) as redis:
        settings = Settings.model_validate({"redis_url": redis.url, "data_url": str(data)})
        state = open_state(settings)
        job = _fill(state, settings)
        state.close()
        process = _serve(redis.url, data, log, key)
        try:
            yield Fuzzed(_address(process, log), job, log)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _fill(state: State, settings: Settings) -> str:
    player = Player(state, settings)
    rows = [
        {"id": f"s{number:02}", "text": f"text {number}", "label": ("no", "yes")[number % 2]}
        for number in range(ROWS)
    ]
    player.dataset(rows, name=KEPT)
    version = player.score({row["id"]: [float(place)] for place, row in enumerate(rows)}, name=KEPT)
    assert state.jobs.get(version.job).state is JobState.SUCCEEDED
    return version.job


def _serve(redis_url: str, data: Path, log: Path, key: str | None) -> subprocess.Popen[bytes]:
    given = {
        "GRADSIFT_REDIS_URL": redis_url,
        "GRADSIFT_DATA_URL": str(data),
        "GRADSIFT_LOG_FORMAT": "json",
        "GRADSIFT_PREDICT_SECONDS": "1",
    }
    if key is not None:
        given["GRADSIFT_API_KEYS"] = key
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADSIFT_")}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=clean | given, stdout=file, stderr=file)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """What it says that it listens on."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        if '"listening"' in text:
            return text.partition('"address": "')[2].partition('"')[0]
        assert process.poll() is None, text
        time.sleep(0.05)
    raise AssertionError(f"not ready after {READY_SECONDS} s:\n{log.read_text()[-4000:]}")
