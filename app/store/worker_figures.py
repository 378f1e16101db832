"""What the processes of workers say of themselves, for whoever watches the service."""

from __future__ import annotations

import json
from collections.abc import Mapping

import redis

from app.store.keys import Keys
from app.store.scripts import Scripts

SAID_SECONDS = 20.0
"""Older figures are those of a process that is gone, or cannot say any."""


class WorkerFigures:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._key = keys.jobs.figures
        self._scripts = Scripts(client)

    def leave(self, worker: str, process: str, figures: Mapping[str, float]) -> None:
        """process: which of the worker's: each leaves its own."""
        self._scripts.run("figures_leave", [self._key], [f"{worker} {process}", json.dumps(figures)])


def read_figures(raw: Mapping[bytes, bytes], now_ms: float) -> dict[tuple[str, str], dict[str, float]]:
    """(worker, process) → what it has said lately."""
    found = {}
    for field, said in raw.items():
        at, _, figures = said.partition(b" ")
        if abs(now_ms - int(at)) <= SAID_SECONDS * 1000:
            worker, _, process = field.decode().partition(" ")
            found[worker, process] = json.loads(figures)
    return found
