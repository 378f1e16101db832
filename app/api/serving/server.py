"""uvicorn's server, with an end in which whoever has been accepted is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from typing import cast

import uvicorn

from app.api.admission import Admission
from app.api.refusals import Refusal
from app.api.serving.protocol import Connection
from app.api.stopping import DETAIL, Stopping
from app.logs import get_logger

_TICK_SECONDS = 0.05
_TICKS_A_ROUND = 10
_ROWS_SHARE = 0.7
"""Of the time for the last requests rows may come in for so long; the rest is for storing and telling."""
_LAST_WORD_SECONDS = 0.5
_ACCEPTED_A_TURN = 32
"""libuv by itself accepts one a turn: where a turn takes long, new clients would wait for seconds."""
log = get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """Stops in this order:

    1. for `drain_seconds` everything is answered, but /readyz says no and every answer closes its connection;
    2. whoever waits to be accepted is, and the socket is closed;
    3. idle connections are closed, streams of events end, the requests under way have `last_seconds`;
    4. what is left then is answered 503.

    A second Ctrl-C skips to the end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        stopping: Stopping,
        admission: Admission,
        *,
        drain_seconds: float,
        last_seconds: float,
    ) -> None:
        super().__init__(config)
        self._admission = admission
        self._stopping = stopping
        self._drain_seconds = drain_seconds
        self._last_seconds = last_seconds
        self._doors: list[socket.socket] = []
        """Duplicates of the listening sockets, which the loop watches beside those of its own servers."""

    @property
    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.server_state.connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self._doors = [listener.dup() for listener in sockets or []]
        for door in self._doors:
            door.setblocking(False)
            loop.add_reader(door.fileno(), self._accept, door, _ACCEPTED_A_TURN)
        self._admission.watch()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_ROUND == 0:
            self._hurry_all()
        return await super().on_tick(counter)

    def _hurry_all(self) -> None:
        now = time.monotonic()
        for connection in self._connections:
            connection.hurry(now)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("draining", seconds=self._drain_seconds, connections=len(self._connections))
        self._stopping.drain()
        for connection in self._connections:
            connection.say_farewell()
        await self._pass(self._drain_seconds)
        for door in self._doors:
            asyncio.get_running_loop().remove_reader(door.fileno())
            self._accept(door)  # the kernel has told those who wait that they are connected
            door.close()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._stopping.end_streams()
        await self._last_requests()
        if not self.force_exit:
            await self.lifespan.shutdown()

    async def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(_TICK_SECONDS)

    def _accept(self, door: socket.socket, most: int = sys.maxsize) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # nobody is left, or there are no more descriptors
            for _ in range(most):
                accepted, _ = door.accept()
                task = loop.create_task(loop.connect_accepted_socket(self._connection, accepted))
                self.server_state.tasks.add(task)  # type: ignore[arg-type]
                task.add_done_callback(self.server_state.tasks.discard)

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _last_requests(self) -> None:
        began = time.monotonic()
        await asyncio.sleep(_TICK_SECONDS)  # who was accepted last has been read by then
        while (self._connections or self.server_state.tasks) and not self.force_exit:
            passed = time.monotonic() - began
            if passed > self._last_seconds:
                await self._answer_those_left()
                return
            if passed > _ROWS_SHARE * self._last_seconds:
                self._stopping.cut_rows()
            for connection in self._connections:
                connection.close_if_idle()
            await asyncio.sleep(_TICK_SECONDS)

    async def _answer_those_left(self) -> None:
        log.warning("requests are left unfinished", requests=len(self.server_state.tasks))
        refusal = Refusal(503, "shutting_down", DETAIL)
        for connection in self._connections:
            connection.answer_and_close(refusal)
        for task in self.server_state.tasks:
            task.cancel(msg="the server stops")
        await self._pass(_LAST_WORD_SECONDS)
