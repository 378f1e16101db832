"""Traffic from several client processes, and what became of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from load_client import Entry, Order, answers, packed_order

_CLIENT = str(Path(__file__).with_name("load_client.py"))
_CEILING_SECONDS = 3.0
_A_CLIENT = 1500.0
"""Requests a second that are asked of one client process at most."""


class Target(Protocol):
    port: int
    samples: int
    client_cores: set[int]

    @property
    def job(self) -> str: ...


class Told:
    """One entry a request: kind, when it was due (s), how long it took (ms), what became of it."""

    def __init__(self, entries: Sequence[Entry], *, client_share: float) -> None:
        self.client_share = client_share
        self.kinds = np.array([entry[0] for entry in entries])
        self.due = np.array([entry[1] for entry in entries])
        self.milliseconds = 1e3 * np.array([entry[2] for entry in entries])
        self.states = np.array([_state(entry[3]) for entry in entries])
        late = [entry[5] for entry in entries]
        self.late_p99 = 1e3 * float(np.percentile(late, 99)) if late else float("nan")
        """How late requests left: what the client itself, or a connection to be opened, adds to latency."""
        self._stored = [entry[4] for entry in entries if entry[4] and entry[3] == 200]

    def __len__(self) -> int:
        return len(self.kinds)

    def count(self, state: str) -> int:
        return int((self.states == state).sum())

    def percentiles(self, state: str) -> tuple[float, float]:
        chosen = self.milliseconds[self.states == state]
        return tuple(np.percentile(chosen, [50, 99])) if len(chosen) else (float("nan"), float("nan"))

    def p99_of(self, kind: str) -> float:
        chosen = self.milliseconds[(self.kinds == kind) & (self.states == "accepted")]
        return float(np.percentile(chosen, 99)) if len(chosen) else float("nan")

    def stored(self) -> list[str]:
        return self._stored


def _state(status: int) -> str:
    if 200 <= status < 300:
        return "accepted"
    return "refused" if status in (429, 503) else "failed"


def traffic(target: Target, rate: float, seconds: float) -> Told:
    clients = max(1, int(np.ceil(rate / _A_CLIENT)))
    with tempfile.TemporaryDirectory() as folder:
        orders = [
            Order(
                target.port,
                rate / clients,
                seconds,
                target.samples,
                target.job,
                _fresh_seed(),
                f"{folder}/{number}",
            )
            for number in range(clients)
        ]
        began = time.monotonic()
        running = [
            subprocess.Popen(
                [sys.executable, _CLIENT, packed_order(order)], stdout=subprocess.PIPE, text=True
            )
            for order in orders
        ]
        for process in running:
            os.sched_setaffinity(process.pid, target.client_cores)
        used = sum(float(process.communicate()[0].split()[-1]) for process in running)
        took = time.monotonic() - began
        entries = [entry for order in orders for entry in answers(Path(order.out))]
        return Told(entries, client_share=used / took)


def _seeds() -> Iterator[int]:
    yield from range(int(time.time()) % 10**6 * 1000, 2**31)


_made = _seeds()


def _fresh_seed() -> int:
    return next(_made)


class _Nothing:
    def __init__(self, port: int) -> None:
        self.port, self.samples, self.job = port, 1000, "none"
        self.client_cores = os.sched_getaffinity(0)


def ceiling() -> float:
    """Requests a second of one client process against a server that does nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, _CLIENT, "--nothing", str(port)])
    try:
        time.sleep(1.5)
        target, rate = _Nothing(port), 2 * _A_CLIENT
        order = Order(port, rate, _CEILING_SECONDS, target.samples, target.job, 1, "/dev/null")
        done = subprocess.run(
            [sys.executable, _CLIENT, packed_order(order)], check=True, capture_output=True, text=True
        )
        return rate * _CEILING_SECONDS / float(done.stdout.split()[-1])
    finally:
        server.terminate()
        server.wait()
