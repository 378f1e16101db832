"""Writes to a disk that may be full."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from app.logs import get_logger
from workers.lease import JobLease

ROOM_SECONDS = 1.0
T = TypeVar("T")
log = get_logger(__name__)


def when_there_is_room(lease: JobLease, write: Callable[[], T]) -> T:
    """Writes, again and again while the disk is full; `write` must bear repetition.

    Raises:
        OSError: the write failed for another reason.
        JobCancelled, JobInterrupted, StaleWorker: as `JobLease.check` says.
    """
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.warning("the job waits for room on the disk", error=str(error))
        lease.check()
        time.sleep(ROOM_SECONDS)
