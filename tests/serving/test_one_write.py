"""The header of an answer leaves with the beginning of its body, but never waits for one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from app.api.serving.one_write import OneWrite
from tests.serving.process import Serve, read_answer

pytestmark = pytest.mark.timeout(60)
HEADER, BODY = b"HTTP/1.1 200 OK\r\n\r\n", b"body"
Write = Callable[[OneWrite, socket.socket], Awaitable[None]]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    made: asyncio.AbstractEventLoop = request.param()
    yield made
    made.close()


def writing(loop: asyncio.AbstractEventLoop, write: Write) -> None:
    """With what one answer is written to, and the client's end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    async def run() -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        await write(OneWrite(transport, loop), theirs)
        transport.close()

    with theirs:
        loop.run_until_complete(run())


def come(theirs: socket.socket) -> bytes:
    try:
        return theirs.recv(1000)
    except BlockingIOError:
        return b"(nothing)"


def test_header_and_body_leave_together(loop: asyncio.AbstractEventLoop) -> None:
    async def write(answer: OneWrite, theirs: socket.socket) -> None:
        answer.write(HEADER)
        assert come(theirs) == b"(nothing)"
        answer.write(BODY)
        assert come(theirs) == HEADER + BODY
        answer.write(b"more")
        assert come(theirs) == b"more", "at once"
        await asyncio.sleep(0.01)
        assert come(theirs) == b"(nothing)"

    writing(loop, write)


def test_a_header_without_a_body_yet_does_not_wait_for_it(loop: asyncio.AbstractEventLoop) -> None:
    async def write(answer: OneWrite, theirs: socket.socket) -> None:
        answer.write(HEADER)
        await asyncio.sleep(0.01)
        assert come(theirs) == HEADER
        answer.write(BODY)
        assert come(theirs) == BODY

    writing(loop, write)


def test_what_is_held_leaves_before_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async def write(answer: OneWrite, theirs: socket.socket) -> None:
        answer.write(HEADER)
        answer.close()
        await asyncio.sleep(0.01)
        assert answer.is_closing()
        assert come(theirs) == HEADER
        assert come(theirs) == b""

    writing(loop, write)


def test_a_connection_that_is_cut_meanwhile_is_written_nothing(loop: asyncio.AbstractEventLoop) -> None:
    failed: list[object] = []
    loop.set_exception_handler(lambda _, context: failed.append(context))

    async def write(answer: OneWrite, theirs: socket.socket) -> None:
        answer.write(HEADER)
        answer._transport.abort()
        await asyncio.sleep(0.01)
        assert come(theirs) == b""

    writing(loop, write)
    assert not failed


def test_answers_without_a_body_of_their_own(started: Callable[..., Serve]) -> None:
    """HEAD; a client that asks first whether it may send a body; and several requests in one packet."""
    serve = started(drain_seconds="0")
    with serve.connect() as plain:
        plain.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = plain.recv(9_999)
        assert head.startswith(b"HTTP/1.1 405 ")
        assert head.endswith(b"\r\n\r\n")
        plain.sendall(
            b"PUT /v1/datasets/d HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 26\r\nExpect: 100-continue\r\n\r\n"
        )
        assert plain.recv(9_999) == b"HTTP/1.1 100 Continue\r\n\r\n"
        plain.sendall(b'{"task": "classification"}')
        assert read_answer(plain)[0] == 201
        plain.sendall(3 * b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = b""
        while heard.count(b"HTTP/1.1 200 ") < 3 or not heard.endswith(b"}"):
            heard += plain.recv(9_999)
