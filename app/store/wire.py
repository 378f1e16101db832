"""One connection to Redis on an event loop, without an await for each reply."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any, NamedTuple, cast

import hiredis
import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.store.scripts import Value

Command = Sequence[Value]
SILENCE_SECONDS = 5.0
"""How long a server that was asked may say nothing; nothing that we ask takes as long."""
_REFUSALS: dict[str, type[RedisError]] = {
    "LOADING": BusyLoadingError,
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
}


def pack(*commands: Command) -> bytes:
    # The stub knows tuples of one part only.
    return b"".join([cast("bytes", hiredis.pack_command(cast("Any", tuple(one)))) for one in commands])


class _Asked(NamedTuple):
    answer: asyncio.Future[list[Any]]
    wanted: int
    at: float
    """By the loop's clock."""


class Wire(asyncio.Protocol):
    """An open connection. Many may ask at once; Redis answers in the order in which it was asked."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=RedisConnectionError, replyError=self._refused)
        self._asked: deque[_Asked] = deque()
        self._replies: list[Any] = []
        self._refusal: RedisError | None = None
        self._broken: RedisError | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def broken(self) -> bool:
        return self._broken is not None

    def ask(self, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        """The replies to these `count` commands.

        The future may be cancelled. Otherwise it ends with one of these:

        Raises:
            ConnectionError, TimeoutError: the connection broke, or the server was silent for too long.
            BusyLoadingError, ResponseError: it refused one of the commands; the first of those refusals.
        """
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        if self._broken is not None:
            answer.set_exception(self._broken)
            return answer
        self._transport.write(packed)
        self._asked.append(_Asked(answer, count, self._loop.time()))
        if self._watch is None:
            self._watch = self._loop.call_later(SILENCE_SECONDS, self._look)
        return answer

    def close(self, reason: RedisError | None = None) -> None:
        """Whoever still waits is told the reason; what is still under way must not answer later questions."""
        if self._broken is not None:
            return
        self._broken = reason or RedisConnectionError("the connection was closed")
        self._transport.abort()
        if self._watch is not None:
            self._watch.cancel()
        for asked in self._asked:
            if not asked.answer.done():
                asked.answer.set_exception(self._broken)
        self._asked.clear()

    # -- called by the event loop ----------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(RedisConnectionError(f"the server ended the connection: {exc or 'no reason told'}"))

    def data_received(self, data: bytes) -> None:
        replies, asked = self._replies, self._asked
        came = self._whole_replies()
        try:
            self._reader.feed(data)
            while asked:
                replies += islice(came, asked[0].wanted - len(replies))
                if len(replies) < asked[0].wanted:
                    return
                self._answer(asked.popleft().answer)
                replies = self._replies
        except RedisConnectionError as error:
            self.close(error)

    def _whole_replies(self) -> Iterator[Any]:
        # False while the rest of a reply is still to come; a reply of 0 is equal to it, but is not it.
        while (reply := self._reader.gets()) is not False:
            yield reply

    def _answer(self, answer: asyncio.Future[list[Any]]) -> None:
        replies, refusal = self._replies, self._refusal
        self._replies, self._refusal = [], None
        if answer.done():  # cancelled
            return
        if refusal is None:
            answer.set_result(replies)
        else:
            answer.set_exception(refusal)

    def _refused(self, text: str) -> Exception:
        refusal = _REFUSALS.get(text.partition(" ")[0], ResponseError)(text)
        self._refusal = self._refusal or refusal
        return refusal

    def _look(self) -> None:
        """Whether the one who waits longest has waited too long."""
        self._watch = None
        if not self._asked:
            return
        left = self._asked[0].at + SILENCE_SECONDS - self._loop.time()
        if left <= 0:
            self.close(RedisTimeoutError(f"no reply within {SILENCE_SECONDS:.0f} s"))
        else:
            self._watch = self._loop.call_later(left, self._look)


class Address:
    """Where a URL leads: TCP, TLS or a unix socket, with user, password and database. redis-py reads it."""

    def __init__(self, url: str) -> None:
        self._parsed: Any = redis.asyncio.ConnectionPool.from_url(url).make_connection()

    async def open(self) -> Wire:
        """A connection that is ready to be asked.

        Raises:
            ConnectionError, TimeoutError, BusyLoadingError: the server is away, or does not let us in.
        """
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                wire = await self._connect()
                with ExitStack() as unless_ready:  # a refusal, silence or a cancellation leaves none open
                    unless_ready.callback(wire.close)
                    for command in self._greeting():
                        await wire.ask(pack(command), 1)
                    unless_ready.pop_all()
        except TimeoutError as silence:
            raise RedisTimeoutError(f"no connection within {SILENCE_SECONDS:.0f} s") from silence
        except OSError as error:
            raise RedisConnectionError(f"no connection: {error}") from error
        except ResponseError as refusal:
            raise RedisConnectionError(f"refused: {refusal}") from refusal
        return wire

    async def _connect(self) -> Wire:
        loop, parsed = asyncio.get_running_loop(), self._parsed
        path: str | None = getattr(parsed, "path", None)
        if path is not None:
            _, wire = await loop.create_unix_connection(Wire, path)
            return wire
        tls = getattr(parsed, "ssl_context", None)
        context = None if tls is None else tls.get()
        _, wire = await loop.create_connection(Wire, parsed.host, parsed.port, ssl=context)
        return wire

    def _greeting(self) -> list[Command]:
        parsed = self._parsed
        commands: list[Command] = []
        if parsed.username:
            commands.append(("AUTH", parsed.username, parsed.password or ""))
        elif parsed.password:
            commands.append(("AUTH", parsed.password))
        if parsed.client_name:
            commands.append(("CLIENT", "SETNAME", parsed.client_name))
        if parsed.db:
            commands.append(("SELECT", parsed.db))
        return commands
