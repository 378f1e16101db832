"""Pipelines of reads from an event loop, one at a time, over one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import hiredis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.store.connections import TRANSIENT
from app.store.scripts import Value

Command = tuple[Value, ...]
SILENCE_SECONDS = 5.0
"""How long a server that took a pipeline may say nothing; no script of ours runs as long."""
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


class Exchange:
    """Sends a pipeline and gives back its replies.

    The connection is opened when it is first needed and again after it broke. What a broken connection left
    unanswered is sent once more, so commands here may only read. It belongs to the event loop that it is
    first used in, and carries one pipeline at a time.
    """

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_connect_timeout=SILENCE_SECONDS,
            socket_timeout=None,  # one limit for a pipeline, not one for each reply
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = pool.make_connection()  # the pool only reads the URL: TLS, password, database

    async def __call__(self, commands: Sequence[Command], *, give_up_at: float) -> list[Any]:
        """The replies in order.

        Args:
            give_up_at: on the monotonic clock; until then a server that is away is tried again.

        Raises:
            ConnectionError, TimeoutError, BusyLoadingError: the server stayed away, or silent.
            ResponseError: it refused one of the commands; the first of those refusals.
        """
        packed = b"".join(_pack(command) for command in commands)
        replies = await self._patiently(packed, len(commands), give_up_at)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)

    async def _patiently(self, packed: bytes, count: int, give_up_at: float) -> list[Any]:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._once(packed, count)
            except TRANSIENT:
                if time.monotonic() + pause > give_up_at:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _once(self, packed: bytes, count: int) -> list[Any]:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self._connection.connect()  # returns at once where it is connected
                await self._connection.send_packed_command(packed, check_health=False)
                return [await self._reply() for _ in range(count)]
        except TimeoutError as silence:
            await self.close()
            raise RedisTimeoutError(f"no reply within {SILENCE_SECONDS:.0f} s") from silence
        except BaseException:
            # What is still under way must not be taken for the replies of the next pipeline.
            await self.close()
            raise

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as refusal:
            return refusal


def _pack(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(cast("Any", command))  # its stub knows tuples of one part only
    return packed
