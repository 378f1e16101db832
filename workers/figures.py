"""What a process of a worker says of itself: memory, processor time, its GPU."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from app.logs import get_logger
from app.store.connections import REFUSED, TRANSIENT
from app.store.worker_figures import WorkerFigures
from workers.forking import STILLNESS

TOLD_SECONDS = 5.0
log = get_logger(__name__)


class FiguresThread(threading.Thread):
    """Leaves this process's figures every few seconds, for as long as it lives.

    process: which of the worker's this is: `main`, `jobs`, or `predictor`.
    """

    def __init__(self, store: WorkerFigures, worker: str, process: str) -> None:
        super().__init__(name="figures", daemon=True)
        self._store = store
        self._worker = worker
        self._process = process

    def run(self) -> None:
        while True:
            try:
                with STILLNESS:
                    self._store.leave(self._worker, self._process, process_figures())
            except (*TRANSIENT, REFUSED) as error:
                log.debug("figures are left later", error=str(error))
            time.sleep(TOLD_SECONDS)


def process_figures() -> dict[str, float]:
    times = os.times()
    told = {"cpu_seconds": times.user + times.system, "resident_bytes": float(_resident_bytes())}
    return told | _gpu_figures()


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # no Linux: the most that it has been
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return pages * resource.getpagesize()


def forget_gpu_peak() -> None:
    """From here on the peak is that of another job."""
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()


def _cuda() -> Any:
    """None where this process has not used a GPU yet: to ask for one would make it hold memory there."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)  # half imported, perhaps, by another thread
    return cuda if cuda is not None and getattr(cuda, "is_initialized", bool)() else None


def _gpu_figures() -> dict[str, float]:
    cuda = _cuda()
    if cuda is None:
        return {}
    free, total = cuda.mem_get_info()
    return {
        "gpu_allocated_bytes": float(cuda.memory_allocated()),
        "gpu_reserved_bytes": float(cuda.memory_reserved()),
        "gpu_peak_bytes": float(cuda.max_memory_allocated()),
        "gpu_used_bytes": float(total - free),
        "gpu_total_bytes": float(total),
    }
