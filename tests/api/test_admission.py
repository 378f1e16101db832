"""Bounded work: what is let in, who waits, who is refused, and that datasets take turns."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.admission import Admission
from app.api.context import RequestContext
from app.api.gate import Gate
from app.api.kinds_of_work import Work, work_of
from app.errors import REMEDIES
from app.settings import Settings
from tests.api.asking import Api, code


@pytest.mark.parametrize(
    ("method", "path", "work", "dataset"),
    [
        ("GET", "/healthz", None, ""),
        ("GET", "/readyz", None, ""),
        ("GET", "/metrics", None, ""),
        ("GET", "/openapi.json", Work.ORDINARY, ""),
        ("GET", "/v1/datasets", Work.ORDINARY, ""),
        ("PUT", "/v1/datasets/d", Work.ORDINARY, ""),
        ("GET", "/v1/datasets/d/scores/s", Work.LOOKUPS, "d"),
        ("POST", "/v1/datasets/d/scores/lookup", Work.BATCHES, "d"),
        ("GET", "/v1/datasets/d/sets", Work.ORDINARY, "d"),
        ("GET", "/v1/datasets/d/sets/core", Work.LOOKUPS, "d"),
        ("GET", "/v1/datasets/d/sets/core/s", Work.ORDINARY, "d"),
        ("GET", "/v1/datasets/d/sets/core/export", Work.STREAMS, "d"),
        ("POST", "/v1/datasets/d/samples", Work.ROWS, "d"),
        ("POST", "/v1/datasets/d/events", Work.ROWS, "d"),
        ("POST", "/v1/datasets/d/items", Work.ROWS, "d"),
        ("GET", "/v1/datasets/d/samples", Work.ORDINARY, "d"),
        ("GET", "/v1/datasets/d/samples/s/explanation", Work.ORDINARY, "d"),
        ("GET", "/v1/datasets/d/samples/s/explanation?attributions=true", Work.STREAMS, "d"),
        ("POST", "/v1/datasets/d/predict", Work.STREAMS, "d"),
        ("GET", "/v1/jobs/j", Work.ORDINARY, ""),
        ("GET", "/v1/jobs/j/events", Work.STREAMS, ""),
        ("GET", "/v1/jobs/j/files/a/b", Work.STREAMS, ""),
        ("GET", "/v1/datasets/d/scores/s/s/s/s", Work.ORDINARY, "d"),
    ],
)
def test_kinds_of_work(method: str, path: str, work: Work | None, dataset: str) -> None:
    path, _, query = path.partition("?")
    assert work_of(method, path, query.encode()) == (work, dataset)


def test_every_route_that_streams_is_known_to(serve: Callable[..., Api]) -> None:
    """A streaming route that took an ordinary place would keep it for as long as its client likes."""
    streaming = set()
    for path, operations in serve().http.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            kinds = {kind for answer in operation["responses"].values() for kind in answer.get("content", {})}
            if kinds & {"text/event-stream", "application/x-ndjson", "application/octet-stream"}:
                streaming.add(work_of(method.upper(), path, b"")[0])
    assert streaming == {Work.STREAMS}


# -- the gate ----------------------------------------------------------------------------------------------
def test_a_full_gate_lets_one_wait_and_refuses_the_next_at_once() -> None:
    async def run() -> None:
        gate = Gate(1, waiting=1, seconds=5.0)
        assert gate.enter("d")
        assert not gate.enter("d")
        waits = asyncio.create_task(gate.wait("d"))
        await asyncio.sleep(0)
        assert await gate.wait("d") is False
        assert not gate.enter("d")
        gate.leave("d")
        assert await waits is True
        gate.leave("d")
        assert gate.taken == 0

    asyncio.run(run())


def test_who_waits_too_long_is_refused_and_leaves_nothing_behind() -> None:
    async def run() -> None:
        gate = Gate(1, waiting=8, seconds=0.02)
        assert gate.enter("d")
        began = time.perf_counter()
        assert await asyncio.gather(*(gate.wait("d") for _ in range(4))) == [False] * 4
        assert 0.015 < time.perf_counter() - began < 1.0
        gate.leave("d")
        assert gate.enter("d")

    asyncio.run(run())


def test_who_could_only_wait_in_vain_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place falls free every 2 s: who is third in line would have it after 6, and may wait for 5."""
    now = itertools.count(0.0, 2.0)
    monkeypatch.setattr("app.api.gate.time", SimpleNamespace(monotonic=lambda: next(now)))

    async def run() -> None:
        gate = Gate(1, waiting=8, seconds=5.0)
        assert gate.enter("d")
        for _ in range(20):
            turn = asyncio.create_task(gate.wait("d"))
            await asyncio.sleep(0)
            gate.leave("d")
            assert await turn
        turns = [asyncio.create_task(gate.wait("d")) for _ in range(4)]
        await asyncio.sleep(0)
        assert [turn.done() for turn in turns] == [False, False, True, True]
        assert gate.turns_away("d")
        assert not gate.turns_away("other"), "the second of this one gives way to it"
        for turn in turns[:2]:
            gate.leave("d")
            assert await turn

    asyncio.run(run())


def test_a_cancelled_wait_gives_its_place_or_its_turn_back() -> None:
    async def run() -> None:
        gate = Gate(1, waiting=8, seconds=5.0)
        assert gate.enter("d")
        waits = asyncio.create_task(gate.wait("d"))
        granted = asyncio.create_task(gate.wait("d"))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        gate.leave("d")  # the second's turn has come, but it is cancelled before it hears of it
        granted.cancel()
        await asyncio.gather(granted, return_exceptions=True)
        assert gate.taken == 0
        assert gate.enter("d")

    asyncio.run(run())


def test_a_flood_of_one_dataset_leaves_turns_to_another() -> None:
    """At every moment 20 requests of `flood` and one of `calm` are under way, for 4 places and 8 to wait."""

    async def run() -> Counter[tuple[str, bool]]:
        gate, told = Gate(4, waiting=8, seconds=0.05), Counter[tuple[str, bool]]()

        async def client(dataset: str) -> None:
            for _ in range(20):
                let_in = gate.enter(dataset) or await gate.wait(dataset)
                told[dataset, let_in] += 1
                await asyncio.sleep(0.002)
                if let_in:
                    gate.leave(dataset)

        await asyncio.gather(*(client("flood") for _ in range(20)), client("calm"))
        assert gate.taken == 0
        return told

    told = asyncio.run(run())
    assert told["calm", True] == 20
    assert told["flood", False] > 20


def test_those_who_stay_long_leave_places_to_other_datasets() -> None:
    async def run() -> None:
        gate = Gate(4, waiting=4, seconds=0.01, most_of_one=3)
        assert [gate.enter("a") for _ in range(4)] == [True, True, True, False]
        waits = asyncio.create_task(gate.wait("a"))
        await asyncio.sleep(0)
        assert gate.enter("b") or await gate.wait("b")
        assert await waits is False

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60), st.integers(1, 3))
def test_a_gate_never_holds_more_than_its_places_nor_refuses_without_need(
    steps: list[tuple[str, bool]], places: int
) -> None:
    async def run() -> None:
        gate, inside, waiting = Gate(places, waiting=3, seconds=60.0), Counter[str](), []
        for dataset, comes in steps:
            if comes and gate.enter(dataset):
                inside[dataset] += 1
            elif comes:
                assert inside.total() == places or waiting
                waiting.append((dataset, asyncio.create_task(gate.wait(dataset))))
            elif inside[dataset]:
                gate.leave(dataset)
                inside[dataset] -= 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for name, turn in [one for one in waiting if one[1].done()]:
                inside[name] += turn.result()
                waiting.remove((name, turn))
            assert gate.taken == inside.total() <= places
            assert len(waiting) <= 3
            assert not waiting or gate.taken == places
        for _, turn in waiting:
            turn.cancel()

    asyncio.run(run())


# -- requests ----------------------------------------------------------------------------------------------
async def ask(app: Any, path: str, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])


def test_a_full_process_refuses_fast_and_answers_health() -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def works(scope: Any, _receive: Any, send: Any) -> None:
            if scope["path"] != "/healthz":
                await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        admission = Admission(works, Settings(max_requests=1, max_lookups=1))
        app = RequestContext(admission)
        held = asyncio.create_task(ask(app, "/v1/jobs"))
        await asyncio.sleep(0)
        began = time.perf_counter()
        status, headers, body = await ask(app, "/v1/datasets")
        assert time.perf_counter() - began < 0.5
        problem = json.loads(body)
        assert (status, problem["status"], problem["code"]) == (503, 503, "overloaded")
        assert int(headers[b"retry-after"]) > 0
        assert headers[b"content-type"] == b"application/problem+json"
        assert int(headers[b"content-length"]) == len(body)
        assert problem["request_id"].encode() == headers[b"x-request-id"]
        assert problem["remedy"] == REMEDIES["overloaded"]
        assert (await ask(app, "/healthz"))[0] == 200
        look_up = asyncio.create_task(ask(app, "/v1/datasets/d/scores/s"))  # has places of its own
        await asyncio.sleep(0)
        assert admission.gates[Work.LOOKUPS].taken == 1
        release.set()
        assert [(await held)[0], (await look_up)[0]] == [200, 200]
        assert [gate.taken for gate in admission.gates.values()] == [0] * len(Work)

    asyncio.run(run())


def test_a_refusal_is_a_problem_as_any_other(serve: Callable[..., Api]) -> None:
    api = serve(max_requests=1)
    gate = api.http.app.state.admission.gates[Work.ORDINARY]  # type: ignore[attr-defined]
    assert gate.enter("other")
    response = api.http.get("/v1/datasets")
    assert code(response, 503) == "overloaded"
    assert response.headers["Retry-After"] == "1"
    gate.leave("other")
    assert api.http.get("/v1/datasets").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body_bytes", "status"),
    [
        ("GET", "/v1/datasets/d/scores/s", 0, 503),
        ("POST", "/v1/datasets/d/scores/lookup", 5_000, 503),
        ("GET", "/v1/jobs", 0, 503),
        ("POST", "/v1/datasets/d/samples", 5_000, 429),
        ("POST", "/v1/datasets/d/samples", 5 << 20, None),
        ("POST", "/v1/datasets/d/samples", None, None),
        ("POST", "/v1/jobs", 100, None),
        ("DELETE", "/v1/datasets/d", 0, None),
        ("GET", "/v1/datasets/d/sets/core/export", 0, None),
        ("GET", "/healthz", 0, None),
    ],
)
def test_what_is_refused_before_it_is_begun(
    method: str, path: str, body_bytes: int | None, status: int | None
) -> None:
    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None: ...

    admission = Admission(nothing, Settings())
    assert admission.turns_away(method, path, b"", body_bytes) is None
    for gate in admission.gates.values():
        gate.shrink_to(0.0)
        gate.taken, gate._room = gate.places, 0
    refusal = admission.turns_away(method, path, b"", body_bytes)
    assert (refusal and refusal.status) == status


def test_rows_refused_before_they_are_begun_are_counted_in_the_next_entry(
    serve: Callable[..., Api],
) -> None:
    api = serve(max_writers=1)
    admission: Admission = api.http.app.state.admission  # type: ignore[attr-defined]
    gate = admission.gates[Work.ROWS]
    assert gate.enter("other")
    gate._room = 0
    for _ in range(3):
        assert admission.turns_away("POST", "/v1/datasets/d/samples", b"", 10) is not None
    assert code(api.post({"id": "1", "text": "a"}), 429) == "too_many_writers"
    entry = json.loads(api.http.get("/v1/audit").text.splitlines()[-1])
    assert (entry["status"], entry["left_out"]) == (429, 3)
    gate.leave("other")


def test_a_loop_that_lags_has_fewer_places_for_a_while() -> None:
    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None: ...

    admission = Admission(nothing, Settings())
    gates = admission.gates
    for _ in range(20):
        admission.feel(0.2)
    assert [gates[work].places for work in (Work.LOOKUPS, Work.BATCHES, Work.ORDINARY)] == [8, 2, 4]
    assert gates[Work.ROWS].places == 2
    for _ in range(250):
        admission.feel(0.001)
    assert [gates[work].places for work in (Work.LOOKUPS, Work.BATCHES, Work.ORDINARY)] == [64, 8, 16]
