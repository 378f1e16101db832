"""The connection of the event loop: replies and refusals find who asked, and a URL leads to the server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisAway

from app.store.embedded import EmbeddedRedis
from app.store.exchange import Exchange
from app.store.wire import Wire, pack


class Sent:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, _: bytes) -> None: ...

    def abort(self) -> None:
        self.aborted = True


def wire() -> Wire:
    made = Wire()
    made.connection_made(Sent())  # type: ignore[arg-type]
    return made


def reply(value: bytes | int | None) -> bytes:
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


values = st.one_of(st.none(), st.integers(0, 1), st.binary(max_size=9))


@given(
    asked=st.lists(st.lists(values, min_size=1, max_size=4), max_size=5),
    piece=st.integers(1, 40),
    cancelled=st.sets(st.integers(0, 4)),
)
def test_each_gets_its_own_replies_however_they_come(
    asked: list[list[bytes | int | None]], piece: int, cancelled: set[int]
) -> None:
    async def ask() -> list[Any]:
        open_wire = wire()
        answers = [open_wire.ask(b"", len(replies)) for replies in asked]
        for at in cancelled & set(range(len(asked))):
            answers[at].cancel()
        told = b"".join(reply(value) for replies in asked for value in replies)
        for start in range(0, len(told), piece):
            open_wire.data_received(told[start : start + piece])
        found = await asyncio.gather(*answers, return_exceptions=True)
        open_wire.close()
        return found

    for at, (replies, found) in enumerate(zip(asked, asyncio.run(ask()), strict=True)):
        assert isinstance(found, asyncio.CancelledError) if at in cancelled else found == replies


def test_a_refusal_is_told_to_whom_it_was_meant_for() -> None:
    async def ask() -> list[Any]:
        open_wire = wire()
        answers = [open_wire.ask(b"", count) for count in (2, 1, 1)]
        open_wire.data_received(b"-ERR first\r\n-ERR second\r\n$1\r\na\r\n-LOADING the data\r\n")
        return await asyncio.gather(*answers, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (type(first), str(first)) == (ResponseError, "ERR first")
    assert second == [b"a"]
    assert isinstance(third, BusyLoadingError)


def test_who_waits_on_a_connection_that_ends_is_told_and_so_is_who_asks_later() -> None:
    async def ask(end: bytes | None) -> list[Any]:
        open_wire = wire()
        waiting = open_wire.ask(b"", 2)
        open_wire.data_received(b"$1\r\na\r\n")
        if end is None:
            open_wire.connection_lost(None)
        else:
            open_wire.data_received(end)
        assert open_wire.broken
        return await asyncio.gather(waiting, open_wire.ask(b"", 1), return_exceptions=True)

    for end in (None, b"no protocol of Redis\r\n"):
        assert all(isinstance(answer, RedisAway) for answer in asyncio.run(ask(end)))


# -- where a URL leads ---------------------------------------------------------------------------------------
@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that lets in user `reader` with `p@ss`; 7 is in its database 2."""
    with EmbeddedRedis(tmp_path / "own") as server:
        path = Path(server.url.removeprefix("unix://").partition("?")[0])
        commands = [
            ("SELECT", 2),
            ("SET", "n", 7),
            ("ACL", "SETUSER", "reader", "on", ">p@ss", "~*", "+@read", "+@connection"),
            ("CONFIG", "SET", "requirepass", "secret"),
        ]
        asyncio.run(ask(server.url, *commands))
        yield path
        asyncio.run(ask(f"unix://:secret@{path}", ("CONFIG", "SET", "requirepass", "")))


async def ask(url: str, *commands: Any) -> list[Any]:
    exchange = Exchange(url, outage_seconds=0)
    try:
        return await exchange(pack(*commands), len(commands), give_up_at=exchange.give_up_at())
    finally:
        await exchange.close()


def test_user_password_and_database_of_the_url(guarded: Path) -> None:
    for user in (":secret", "reader:p%40ss"):
        assert asyncio.run(ask(f"unix://{user}@{guarded}?db=2", ("GET", "n"))) == [b"7"]
    named = asyncio.run(ask(f"unix://:secret@{guarded}?client_name=gradsift", ("CLIENT", "GETNAME")))
    assert named == [b"gradsift"]


@pytest.mark.parametrize("user", [":wrong", "reader:wrong", "nobody:p%40ss"])
def test_who_is_not_let_in_is_told_so(guarded: Path, user: str) -> None:
    with pytest.raises(RedisAway):
        asyncio.run(ask(f"unix://{user}@{guarded}", ("GET", "n")))
    with pytest.raises(RedisAway):
        asyncio.run(ask(f"unix://{guarded}", ("GET", "n")))


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_over_tcp_and_tls(redis_url: str, tmp_path: Path, scheme: str) -> None:
    """A relay stands for a server that listens there."""
    socket = redis_url.removeprefix("unix://").partition("?")[0]
    context = None
    if scheme == "rediss":
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        authority.cert_pem.write_to_path(f"{tmp_path}/own.pem")

    async def through_relay() -> list[Any]:
        over = asyncio.Event()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_unix_connection(socket)
            with suppress(OSError):
                while data := await reader.read(4096):
                    there_writer.write(data)
                    writer.write(await there_reader.read(4096))
            for one in (there_writer, writer):
                one.close()
                with suppress(OSError):
                    await one.wait_closed()
            over.set()

        async with await asyncio.start_server(relay, "localhost", ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            trusted = f"?ssl_ca_certs={tmp_path}/own.pem" if context else ""
            heard = await ask(f"{scheme}://localhost:{port}/0{trusted}", ("ECHO", "heard"))
            await over.wait()
            return heard

    assert asyncio.run(through_relay()) == [b"heard"]
