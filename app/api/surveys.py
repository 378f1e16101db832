"""What /metrics tells of Redis, of the workers and of the disk, gathered when it is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from app.logs import get_logger
from app.store.connections import REFUSED, TRANSIENT
from app.store.locations import room
from app.store.survey import Survey

PATIENCE_SECONDS = 0.07
"""A scrape is answered within 100 ms, whatever Redis does."""
STILL_TRUE_SECONDS = 10.0
log = get_logger(__name__)


@dataclass(frozen=True)
class Taken:
    """survey: None where Redis does not answer. room: free and total bytes where the data lie, if that is a
    disk. at: on the monotonic clock."""

    survey: Survey | None
    room: tuple[int, int] | None
    at: float
    seconds: float


class Surveys:
    """Takes one at a time. A scrape that would have to wait gets the last one while that is fresh."""

    def __init__(self, take: Callable[[], Survey], data_url: str) -> None:
        self._take = take
        self._data_url = data_url
        self._thread = CapacityLimiter(1)  # of its own: a busy service must still be seen
        self._under_way: asyncio.Task[None] | None = None
        self._last: Taken | None = None

    async def newest(self) -> Taken | None:
        """None: nothing is known just now."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._survey())
        await asyncio.wait([self._under_way], timeout=PATIENCE_SECONDS)
        last = self._last
        return last if last is not None and time.monotonic() - last.at <= STILL_TRUE_SECONDS else None

    async def _survey(self) -> None:
        self._last = await to_thread.run_sync(self._look, limiter=self._thread, abandon_on_cancel=True)

    def _look(self) -> Taken:
        began, survey = time.monotonic(), None
        try:
            survey = self._take()
        except (*TRANSIENT, REFUSED) as error:
            log.warning("redis does not answer, or refuses; metrics tell less", error=str(error))
        except Exception:  # a scrape is answered, whatever it is
            log.exception("the state of the service could not be read")
        now = time.monotonic()
        return Taken(survey, room(self._data_url), now, now - began)
