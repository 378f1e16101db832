"""That this process is about to stop, for those who must know: readiness, streams, rows that come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from app.errors import Unavailable

DETAIL = "this process stops; another one, or the next, takes requests"


class Stops(Unavailable):
    """The process stops before the request is done."""


class Stopping:
    """Of one process; to be used on its event loop.

    draining: no new work is asked for; what comes is still answered.
    ending: nothing new comes any more; streams that would go on for ever end.
    """

    def __init__(self) -> None:
        self.draining = False
        self.ending = False
        self._cut = asyncio.Event()

    def drain(self) -> None:
        self.draining = True

    def end_streams(self) -> None:
        self.draining = self.ending = True

    def cut_rows(self) -> None:
        """Rows that still come in are to be answered with what has been stored."""
        self._cut.set()

    async def until_cut(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks of a body.

        Raises:
            Stops: though more would come.
        """
        cut = asyncio.create_task(self._cut.wait())
        coming: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(anext(chunks, None))
                await asyncio.wait((coming, cut), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise Stops("shutting_down", DETAIL)
                chunk = coming.result()
                if chunk is None:
                    return
                yield chunk
        finally:
            cut.cancel()
            if coming is not None and coming.cancel():
                await asyncio.gather(coming, return_exceptions=True)
