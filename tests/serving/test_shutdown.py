"""SIGTERM under load: whoever has been accepted is answered; streams end with a word."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest

from app.store.state import State
from tests.playing import Player
from tests.serving.clients import Clients, unanswered
from tests.serving.process import Serve, read_answer

pytestmark = pytest.mark.timeout(120)
Started = Callable[..., Serve]


@pytest.fixture
def dataset(player: Player) -> Player:
    player.dataset([{"id": "a", "text": "some text"}])
    return player


@pytest.mark.parametrize("drain", ["1.0", "0"])
def test_no_request_is_dropped_and_nothing_stored_is_lost(
    started: Started, dataset: Player, state: State, drain: str
) -> None:
    serve = started(drain_seconds=drain)
    clients = Clients(serve.port, 9)
    time.sleep(1.0)
    serve.terminate()
    if drain != "0":
        time.sleep(0.4)
        assert httpx.get(f"http://127.0.0.1:{serve.port}/readyz").status_code == 503
        assert httpx.get(f"http://127.0.0.1:{serve.port}/healthz").headers["Connection"] == "close"
    clients.join()
    assert serve.process.wait(30) == 0
    assert unanswered(clients.told) == {}
    assert clients.told["200"] > 50
    assert clients.told["refused to connect"] == 9
    found = state.ids.entries(state.datasets.get("d"), sorted(clients.stored))
    assert all(entry is not None and entry.stored for entry in found)


def test_a_process_that_goes_leaves_its_requests_to_another_on_the_same_socket(
    started: Started, dataset: Player
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.set_inheritable(True)
        first = started(listener=listener, drain_seconds="0.5")
        second = started(listener=listener)
        clients = Clients(first.port, 9)
        time.sleep(0.5)
        assert first.stop() == 0
        time.sleep(0.5)
        clients.stop()
        assert second.process.poll() is None
    assert unanswered(clients.told) == {}
    assert clients.told["refused to connect"] == 0


def test_events_of_a_job_end_with_a_word(started: Started, dataset: Player, state: State) -> None:
    serve = started(drain_seconds="0")
    with serve.http() as http_:
        body = {"dataset": "d", "kind": "split", "params": {"by": "stratified"}}
        answer = http_.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        with http_.stream("GET", f"/v1/jobs/{answer.json()['id']}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: state"
            serve.terminate()
            rest = list(lines)  # to a clean end: a broken stream raises
    assert "event: closing" in rest
    assert serve.process.wait(20) == 0


def test_rows_that_would_come_for_ever_are_answered_with_what_is_stored(
    started: Started, dataset: Player
) -> None:
    serve = started(drain_seconds="0", shutdown_seconds="2", ingest_batch_rows="100")
    plain = serve.connect()
    plain.sendall(
        b"POST /v1/datasets/d/samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )

    def send(start: int) -> None:
        rows = b"".join(b'{"id": "s%d", "text": "%s"}\n' % (n, b"t" * 900) for n in range(start, start + 500))
        plain.sendall(b"%x\r\n%b\r\n" % (len(rows), rows))

    send(0)
    time.sleep(0.5)
    serve.terminate()
    send(500)
    status, headers, body = read_answer(plain)
    plain.close()
    problem = json.loads(body)
    assert (status, problem["code"], headers["connection"]) == (503, "shutting_down", "close")
    told = problem["detail"].partition("of the first ")[2].split()
    received, stored = int(told[0]), int(told[2])
    assert received == stored > 0
    assert serve.process.wait(20) == 0
    assert len(list(dataset.state.ids.scan(dataset.state.datasets.get("d")))) == stored + 1


def test_an_answer_that_would_take_too_long_is_a_503(started: Started, dataset: Player) -> None:
    serve = started(drain_seconds="0", shutdown_seconds="1")
    plain = serve.connect()
    plain.sendall(
        b"PUT /v1/datasets/e HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"
    )  # the rest never comes
    time.sleep(0.3)
    serve.terminate()
    status, headers, body = read_answer(plain)
    plain.close()
    problem = json.loads(body)
    assert (status, problem["code"]) == (503, "shutting_down")
    assert problem["request_id"] == headers["x-request-id"]
    assert serve.process.wait(20) == 0
