"""A key that is revoked while a request with it is under way."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from app.contracts.access import KeyScope
from app.main import create_app
from app.services.api_keys import revoke_key
from app.settings import Settings
from app.store.state import State
from tests.api.serving import served
from tests.keys import bearer, make_key
from tests.processes import wait_until

ALL = list(KeyScope)
OWNER = "key-of-the-settings"
SOON = 2.0


@dataclass
class Running:
    http: httpx.Client
    state: State

    def count(self, name: str = "d") -> int:
        return self.state.samples.count(self.state.datasets.get(name))


@pytest.fixture
def running(make_settings: Callable[..., Settings], state: State) -> Iterator[Running]:
    app = create_app(make_settings(api_keys=(OWNER,), ingest_batch_rows=2))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
        for name in ("d", "e"):
            http.put(f"/v1/datasets/{name}", json={"task": "classification"}, headers=bearer(OWNER))
        rows = [{"id": f"s{n}", "text": "x" * 2000, "label": "ab"[n % 2]} for n in range(40)]
        stored = http.post("/v1/datasets/e/samples", json={"samples": rows}, headers=bearer(OWNER))
        assert stored.status_code == 200
        yield Running(http, state)


def lines(first: int, stop: int) -> bytes:
    rows = ({"id": f"r{n}", "text": "x" * 70_000, "label": "l"} for n in range(first, stop))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class SlowBody:
    """A POST of rows that goes on for as long as one likes."""

    def __init__(self, base: httpx.URL, path: str, headers: dict[str, str]) -> None:
        self._socket = socket.create_connection((base.host, base.port or 80), timeout=10)
        head = [f"POST {path} HTTP/1.1", f"Host: {base.host}", "Transfer-Encoding: chunked"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*head, "", ""]).encode())

    def send(self, content: bytes) -> None:
        self._socket.sendall(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def answered(self, seconds: float) -> bool:
        """Whether an answer has come, or comes within so long."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def answer(self) -> tuple[int, dict[str, str]]:
        answer = b""
        while b"}" not in answer:
            answer += self._socket.recv(65536)
        self._socket.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("goes_on", [True, False], ids=["rows go on coming", "nothing more comes"])
def test_a_stream_of_rows_is_stopped_and_what_is_stored_stays(running: Running, goes_on: bool) -> None:
    key_id, key = make_key(running.state, scopes=ALL)
    headers = bearer(key) | {"Content-Type": "application/x-ndjson"}
    body = SlowBody(running.http.base_url, "/v1/datasets/d/samples", headers)
    body.send(lines(0, 8))
    wait_until(lambda: running.count() > 0)
    revoke_key(running.state, key_id)
    began, number = time.monotonic(), 8
    while not body.answered(0.1):
        assert time.monotonic() < began + SOON
        if goes_on:
            body.send(lines(number, number + 1))
            number += 1
    status, problem = body.answer()
    assert (status, problem["code"]) == (401, "unauthorized")
    stored = running.count()
    assert 2 <= stored <= number, "what was stored stays"
    assert running.http.get("/v1/access", headers=bearer(key)).status_code == 401
    assert running.http.get("/v1/access", headers=bearer(OWNER)).status_code == 200
    time.sleep(0.5)
    assert running.count() == stored, "and nothing comes after"


def test_events_end_with_the_key(running: Running) -> None:
    key_id, key = make_key(running.state, scopes=ALL)
    body = {"dataset": "e", "kind": "score"}
    job = running.http.post("/v1/jobs", json=body, headers=bearer(OWNER)).json()["id"]
    with running.http.stream("GET", f"/v1/jobs/{job}/events", headers=bearer(key)) as answer:
        assert answer.status_code == 200
        came = answer.iter_raw()
        assert b"queued" in next(came)
        revoke_key(running.state, key_id)
        began = time.monotonic()
        with pytest.raises(httpx.RemoteProtocolError):  # cut off: the client sees that it is not whole
            list(came)
    assert time.monotonic() - began < SOON


def test_a_key_that_expires_ends_what_it_began(running: Running) -> None:
    _, key = make_key(running.state, scopes=ALL, expires_days=1.5 / 86400)
    body = {"dataset": "e", "kind": "score"}
    job = running.http.post("/v1/jobs", json=body, headers=bearer(OWNER)).json()["id"]
    began = time.monotonic()
    with (
        running.http.stream("GET", f"/v1/jobs/{job}/events", headers=bearer(key)) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        list(answer.iter_raw())
    assert 1.0 < time.monotonic() - began < 1.5 + SOON


def test_other_keys_are_not_disturbed(running: Running) -> None:
    key_id, _ = make_key(running.state, scopes=ALL)
    _, other = make_key(running.state, scopes=ALL)

    def body() -> Iterator[bytes]:
        yield lines(0, 4)
        revoke_key(running.state, key_id)
        time.sleep(1.5)
        yield lines(4, 8)

    headers = bearer(other) | {"Content-Type": "application/x-ndjson"}
    answer = running.http.post("/v1/datasets/d/samples", content=body(), headers=headers)
    assert answer.status_code == 200
    assert answer.json()["created"] == 8
