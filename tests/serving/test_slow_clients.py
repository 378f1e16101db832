"""Attacks of slow and greedy clients, with plain sockets: none of them holds a place for ever."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.playing import Player
from tests.serving.process import Serve, read_answer

pytestmark = pytest.mark.timeout(120)
Started = Callable[..., Serve]
HEAD = b"POST /v1/datasets/d/samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"


@pytest.fixture
def serve(started: Started, player: Player) -> Serve:
    player.dataset([{"id": "a", "text": "some text"}])
    return started(
        header_seconds="2", stall_seconds="2", max_connections="12", max_writers="4", drain_seconds="0"
    )


def code(plain: socket.socket) -> tuple[int, str]:
    status, headers, body = read_answer(plain)
    if not status:
        return 0, ""
    problem = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["request_id"]
    assert headers["connection"] == "close"
    return status, problem["code"]


def drip(plain: socket.socket, data: bytes, seconds: float) -> float:
    """Sends a byte at a time until the other side has had enough; how long that took."""
    began = time.monotonic()
    plain.settimeout(0.05)
    for byte in data:
        try:
            plain.sendall(bytes([byte]))
            if plain.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            pass
        except ConnectionError:
            break
        if time.monotonic() - began > seconds:
            raise AssertionError("it is still listened to")
    plain.settimeout(10)
    return time.monotonic() - began


def test_headers_byte_by_byte_hold_no_connection(serve: Serve) -> None:
    with serve.connect() as plain:
        assert 1.5 < drip(plain, b"GET /v1/datasets/d HTTP/1.1\r\nX-A: " + b"a" * 2000, 8) < 6
        assert code(plain) == (408, "client_too_slow")
    with serve.connect() as silent:
        assert silent.recv(1) == b""


def test_a_slow_second_header_of_a_kept_connection(serve: Serve) -> None:
    with serve.connect() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(plain)[0] == 200
        drip(plain, b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 2000, 8)
        assert code(plain) == (408, "client_too_slow")


def test_bodies_byte_by_byte_give_their_places_back(serve: Serve) -> None:
    """They take every place that one dataset may have for rows."""
    slow = [serve.connect() for _ in range(3)]
    for plain in slow:
        plain.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    time.sleep(0.3)
    with serve.http() as http:
        answer = http.post("/v1/datasets/d/samples", json={"samples": [{"id": "n", "text": "t"}]})
        assert answer.json()["code"] == "too_many_writers"
        drip(slow[0], b" " * 2000, 10)
        assert [code(plain) for plain in slow] == [(408, "client_too_slow")] * 3
        answer = http.post("/v1/datasets/d/samples", json={"samples": [{"id": "n", "text": "t"}]})
        assert answer.status_code == 200
    for plain in slow:
        plain.close()


def test_a_slow_but_steady_body_is_taken(serve: Serve) -> None:
    row = b'{"id": "steady", "text": "%s"}\n' % (b"t" * 1000)
    with serve.connect() as plain:
        plain.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (6 * len(row)))
        for _ in range(6):
            plain.sendall(row)
            time.sleep(0.8)
        status, _, body = read_answer(plain)
    assert status in (200, 207), body


def test_a_client_that_does_not_read_its_answer_is_cut_off(serve: Serve, player: Player) -> None:
    player.send(
        player.state.datasets.get("d"), [{"id": f"s{n:04}", "text": "some text " * 300} for n in range(1000)]
    )
    with serve.connect(receive_buffer=4096) as plain:
        plain.sendall(b"GET /v1/datasets/d/samples?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        time.sleep(6)
        plain.settimeout(10)
        received = 0
        with suppress(ConnectionError):
            while part := plain.recv(65536):
                received += len(part)
    assert received < 3 * 1000 * 3000, "the texts alone are more: it was cut off"


def test_more_connections_than_may_be_are_told_so(serve: Serve) -> None:
    held = [serve.connect() for _ in range(12)]
    for plain in held:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(plain)[0] == 200
    with serve.connect() as further:
        further.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert code(further) == (503, "overloaded")
    for plain in held:
        plain.close()
    time.sleep(0.3)
    with serve.http() as http:
        assert http.get("/healthz").status_code == 200


def test_headers_without_end(serve: Serve) -> None:
    with serve.connect() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 70_000)
        assert code(plain) == (431, "header_too_large")
    with serve.connect() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 12_000)
        assert code(plain) == (431, "header_too_large")


def test_what_is_no_request_is_told_so(serve: Serve) -> None:
    with serve.connect() as plain:
        plain.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert code(plain) == (400, "invalid_request")
