"""Celery's pool of one child, which says when the child is up, and notices at once that it is dead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool

LOOK_SECONDS = 0.2
CHILD_IS_UP = threading.Event()
"""In the parent: the first child has loaded what jobs need, and waits for one."""


class WatchedPool(AsynPool):  # type: ignore[misc]
    """Looks for dead children much more often than every five seconds, which is Celery's pace.

    The end of a child's pipe wakes Celery too, but before the kernel can be asked how the child ended: then
    nothing is found, and nobody looks again until the next turn.
    """

    @property
    def timers(self) -> dict[Callable[[], None], float]:
        return {self.maintain_pool: LOOK_SECONDS}

    def on_process_alive(self, pid: int) -> None:
        super().on_process_alive(pid)
        CHILD_IS_UP.set()


class JobPool(prefork.TaskPool):  # type: ignore[misc]
    Pool: Any = WatchedPool
