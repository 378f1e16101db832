"""Requests that are refused before they are begun: on a real socket, beside those that are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import uvicorn

from app.api.refusals import Refusal
from app.api.serving.limits import Limits
from app.api.serving.protocol import connection_kind
from app.api.stopping import Stopping
from app.settings import Settings


class Choosy:
    """An admission that turns away whatever names `no`."""

    strained = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes, int | None]] = []

    def turns_away(self, method: str, path: str, query: bytes, body_bytes: int | None) -> Refusal | None:
        self.asked.append((method, path, query, body_bytes))
        return Refusal(503, "overloaded", "it is full") if "no" in path else None


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    told = f"{scope['method']} {scope['path']} {len(body)}".encode()
    headers = [(b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


@contextlib.asynccontextmanager
async def served(admission: Choosy, **options: Any) -> AsyncIterator[int]:
    kind = connection_kind(Stopping(), Limits.of(Settings()), admission)  # type: ignore[arg-type]
    config = uvicorn.Config(echo, port=0, http=kind, log_config=None, lifespan="off", **options)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await running


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def test_one_connection_is_answered_and_turned_away_by_turns() -> None:
    async def run() -> None:
        admission = Choosy()
        async with served(admission) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(get("/no%2Fhere?a=1", "X-Request-ID: mine"))
                status, headers, body = await answer(reader)
                assert (status, headers["retry-after"], headers["x-request-id"]) == (503, "1", "mine")
                assert headers["content-type"] == "application/problem+json"
                assert b'"code":"overloaded"' in body
                writer.write(get("/yes"))
                assert (await answer(reader))[2] == b"GET /yes 0"
                writer.write(post("/no", b"x" * 100_000))
                assert (await answer(reader))[0] == 503
                writer.write(post("/yes", b"y" * 100_000))
                assert (await answer(reader))[2] == b"POST /yes 100000"
            assert admission.asked[0] == ("GET", "/no/here", b"a=1", 0)
            assert admission.asked[2] == ("POST", "/no", b"", 100_000)
            writer.close()

    anyio.run(run)


def test_requests_that_come_at_once_are_answered_in_turn() -> None:
    """One behind another that is under way takes the long way: its answer must not come first."""

    async def run() -> None:
        async with served(Choosy()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/no") + get("/yes/1") + get("/no/behind") + post("/no", b"abc") + get("/yes/2"))
            found = [await answer(reader) for _ in range(5)]
            assert [status for status, _, _ in found] == [503, 200, 200, 200, 200]
            assert [body for _, _, body in found[1:]] == [
                b"GET /yes/1 0",
                b"GET /no/behind 0",
                b"POST /no 3",
                b"GET /yes/2 0",
            ]
            writer.close()

    anyio.run(run)


@pytest.mark.parametrize(
    "asked", [get("/no", "Connection: close"), b"GET /no HTTP/1.0\r\n\r\n"], ids=["1.1", "1.0"]
)
def test_a_connection_that_is_to_end_ends(asked: bytes) -> None:
    async def run() -> None:
        async with served(Choosy()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(asked)
            assert (await answer(reader))[0] == 503
            assert await reader.read() == b""
            writer.close()

    anyio.run(run)


def test_a_body_that_comes_after_its_refusal_leaves_a_connection_as_any_other() -> None:
    """It goes on with the next request, and is closed when it has been idle for its time."""

    async def run() -> None:
        async with served(Choosy(), timeout_keep_alive=1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = post("/no", b"x" * 200_000)[:-200_000]
            for _ in range(2):
                writer.write(head)
                assert (await answer(reader))[0] == 503
                for _ in range(2):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
                    await asyncio.sleep(0.01)
            async with asyncio.timeout(10):
                assert await reader.read() == b"", "closed, without a further answer"
            writer.close()

    anyio.run(run)
