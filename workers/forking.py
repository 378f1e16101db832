"""Children forked from a parent that has loaded what jobs need: a new child is ready at once.

Forking is safe while the parent only imports: torch starts no thread and asks no GPU before its first
operation, and Lance starts its own with the first table. So the parent opens no table and computes nothing;
a test makes a child compute in several threads. The threads that the parent does have, those that tell Redis
that it is there, stand still while it forks: a child would wait for ever for a lock that one of them held.

With a GPU, and off Linux, children are fresh interpreters, which load for themselves.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import FrameType

WHAT_JOBS_NEED = "workers.runner"
NICENESS = 5
"""Where jobs share cores with the API, they give way to whoever waits for an answer."""
FORK_PATIENCE_SECONDS = 5.0
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))


class Stillness:
    """A lock that threads hold while they are at work, and that a process takes to fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        # Not for ever: a thread may be waiting for a Redis that is away, and a child must come all the same.
        self._held = self._lock.acquire(timeout=FORK_PATIENCE_SECONDS)

    def after_in_parent(self) -> None:
        if self._held:
            self._lock.release()

    def after_in_child(self) -> None:
        """Whoever held the lock is not there."""
        self._lock = threading.Lock()


STILLNESS = Stillness()


def children_are_forked() -> bool:
    return sys.platform == "linux" and not any(device.exists() for device in GPU_DEVICES)


def load_beforehand() -> None:
    """In the parent, before it has other threads than this one needs: imports what a job needs."""
    # Told to stop, it has nothing to finish. A container's first process dies of nothing without a handler.
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    with ThreadPoolExecutor(1, "loading") as loading:
        loading.submit(_load_nicely).result()  # or raises: no worker without what it needs
    for number, handler in before.items():
        signal.signal(number, handler)
    gc.collect()
    gc.freeze()  # what is loaded stays shared between parent and child
    warnings.filterwarnings("ignore", message="lance is not fork-safe")  # it is, until a table is opened
    os.register_at_fork(
        before=STILLNESS.before_fork,
        after_in_parent=STILLNESS.after_in_parent,
        after_in_child=STILLNESS.after_in_child,
    )


def _leave(_signum: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _load_nicely() -> None:
    if sys.platform == "linux":  # where niceness is a thread's own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    import_module(WHAT_JOBS_NEED)
