"""A loop whose turns take long, as under load: whoever comes then is not left to wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
import uvloop

from app.api.admission import Admission
from app.api.serving.limits import Limits
from app.api.serving.protocol import connection_kind
from app.api.serving.server import DrainingServer
from app.api.stopping import Stopping
from app.settings import Settings

CLIENTS = 90
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def empty(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[socket.socket]:
    """Yields the socket that is listened at."""
    settings, stopping = Settings(), Stopping()
    admission = Admission(empty, settings)
    kind = connection_kind(stopping, Limits.of(settings), admission)
    config = uvicorn.Config(empty, http=kind, log_config=None, lifespan="off")
    server = DrainingServer(config, stopping, admission, drain_seconds=0, last_seconds=1)
    with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield listener
        finally:
            server.should_exit = True
            await running


def test_clients_that_come_at_once_are_accepted_in_a_few_turns() -> None:
    async def run() -> None:
        async with served() as listener:
            clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
            for client in clients:
                client.sendall(GET)
                client.setblocking(False)
            turns, left = 0, set(clients)
            while left and turns < CLIENTS:
                turns += 1
                await asyncio.sleep(0)
                for client in list(left):
                    with contextlib.suppress(BlockingIOError):
                        assert client.recv(4096).startswith(b"HTTP/1.1 204")
                        left.remove(client)
            for client in clients:
                client.close()
            assert not left
            assert turns < CLIENTS / 3, "one a turn would be libuv's own pace"

    uvloop.run(run())
