"""How long a connection on which nothing is asked is kept."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable

import pytest

from app.api.serving.limits import CROWDED_KEEP_SECONDS
from tests.serving.process import Serve, read_answer

pytestmark = pytest.mark.timeout(120)
Started = Callable[..., Serve]
KEEP_SECONDS = 3
ASKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def answered(plain: socket.socket) -> bool:
    """False where the connection is closed."""
    try:
        plain.sendall(ASKED)
    except ConnectionError:
        return False
    return read_answer(plain)[0] == 200


def test_idle_ones_make_room_only_where_many_are_open(started: Started) -> None:
    serve = started(max_connections="12", keep_alive_seconds="60", drain_seconds="0")
    idle = [serve.connect() for _ in range(6)]
    used = [serve.connect() for _ in range(3)]
    assert all(answered(plain) for plain in idle + used)
    time.sleep(CROWDED_KEEP_SECONDS + 1.5)
    assert all(answered(plain) for plain in used), "nine of twelve: all are kept"
    young = [serve.connect() for _ in range(2)]
    assert all(answered(plain) for plain in young), "two more, and it is a crowd"
    assert [plain.recv(1) for plain in idle] == [b""] * 6, "closed, without having been asked anything"
    assert not any(answered(plain) for plain in idle)
    assert all(answered(plain) for plain in used + young)
    for plain in idle + used + young:
        plain.close()


def test_a_request_that_came_in_time_is_answered_by_a_process_that_is_late(started: Started) -> None:
    serve = started(keep_alive_seconds=str(KEEP_SECONDS), drain_seconds="0")
    with serve.connect() as asks, serve.connect() as silent:
        assert answered(asks)
        assert answered(silent)
        serve.process.send_signal(signal.SIGSTOP)
        try:
            asks.sendall(ASKED)
            time.sleep(KEEP_SECONDS + 0.5)  # both are overdue
        finally:
            serve.process.send_signal(signal.SIGCONT)
        assert read_answer(asks)[0] == 200
        assert silent.recv(1) == b"", "closed in its time"


def test_empty_lines_keep_no_connection(started: Started) -> None:
    serve = started(header_seconds="1", drain_seconds="0")
    with serve.connect() as plain:
        assert answered(plain)
        plain.sendall(b"\r\n")
        status, _, body = read_answer(plain)
        assert (status, b"client_too_slow" in body) == (408, True)
    with serve.connect() as plain:
        assert answered(plain)
        plain.sendall(b"\r\n" + ASKED)
        assert read_answer(plain)[0] == 200
