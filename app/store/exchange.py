"""Reads from an event loop over one connection that is opened again when it breaks."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from app.store.connections import TRANSIENT
from app.store.wire import Address, Wire

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


class Exchange:
    """Sends commands and gives back their replies.

    The connection is opened when it is first needed and again after it broke. What a broken connection left
    unanswered is sent once more, so commands here may only read. It belongs to the event loop that it is
    first used in; many may ask at once.

    Args:
        outage_seconds: how long a server may be away before those who ask are told.
    """

    def __init__(self, url: str, *, outage_seconds: float) -> None:
        self._outage_seconds = outage_seconds
        self._address = Address(url)
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None

    def give_up_at(self) -> float:
        """Until when, on the monotonic clock, what is asked now is to be tried again."""
        return time.monotonic() + self._outage_seconds

    async def __call__(self, packed: bytes, count: int, *, give_up_at: float) -> list[Any]:
        """The replies to `count` commands, in order.

        Args:
            give_up_at: that of the whole question, of which this may be one of several turns.

        Raises:
            ConnectionError, TimeoutError, BusyLoadingError: the server stayed away, or silent.
            ResponseError: it refused one of the commands; the first of those refusals.
        """
        if count == 0:
            return []
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                wire = self._wire
                if wire is None or wire.broken:
                    wire = await self._open()
                return await wire.ask(packed, count)
            except TRANSIENT:
                if time.monotonic() + pause > give_up_at:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    async def _open(self) -> Wire:
        """One attempt for all who find the connection closed."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._address.open())
        self._wire = await asyncio.shield(self._opening)
        return self._wire
