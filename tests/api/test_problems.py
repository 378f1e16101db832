"""Whatever is asked, the answer is about it: a problem document with an id, and never an internal error."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis.exceptions import ConnectionError as RedisAway

from app.errors import REMEDIES
from app.main import create_app
from app.settings import Settings
from app.store.datasets import DatasetStore
from tests.api.asking import PROBLEM_FIELDS, Api, code

JSON = {"Content-Type": "application/json"}


def test_unknown_paths_and_methods(api: Api) -> None:
    for path in ("/nope", "/v1", "/v2/datasets", "/v1/nope", "/v1/datasets/d/nope", "/v1/jobs/x/y/z"):
        assert code(api.http.get(path), 404) == "unknown_route"
    for method, path in (("PATCH", "/v1/datasets/d"), ("DELETE", "/v1/jobs/x"), ("HEAD", "/healthz")):
        response = api.http.request(method, path)
        assert response.status_code == 405
        assert response.headers["Allow"]
    assert code(api.http.patch("/v1/datasets/d"), 405) == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/datasets/d", "DELETE, GET, PUT"),
        ("/v1/datasets/d/samples", "GET, POST"),
        ("/v1/datasets/d/samples/a", "DELETE, GET"),
        ("/v1/datasets/d/samples/a/review", "DELETE, GET, POST"),
        ("/v1/datasets/d/scores/lookup", "GET, POST"),
        ("/healthz", "GET"),
    ],
)
def test_a_refused_method_is_told_all_the_others(api: Api, path: str, allowed: str) -> None:
    for method in ("PATCH", "OPTIONS"):
        assert api.http.request(method, path).headers["Allow"] == allowed


def test_a_request_keeps_its_id_if_it_is_harmless(api: Api) -> None:
    assert api.get(name="d").headers["X-Request-ID"] != api.get(name="d").headers["X-Request-ID"]
    for asked, kept in (
        ("abc-1.2:3", True),
        ("x" * 65, False),
        ("a b", False),
        ("<script>", False),
        ("", False),
    ):
        response = api.http.get("/v1/nope", headers={"X-Request-ID": asked})
        assert (response.headers["X-Request-ID"] == asked) is kept


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/datasets/x"),
        ("POST", "/v1/jobs"),
        ("POST", "/v1/datasets/d/scores/lookup"),
        ("POST", "/v1/datasets/d/samples"),
    ],
)
def test_bodies_over_the_limit(serve: Callable[..., Api], method: str, path: str, chunked: bool) -> None:
    api = serve(max_body_bytes=5000)
    api.put()
    body = json.dumps({"samples": [{"id": "1", "text": "x" * 6000}]}).encode()

    def chunks() -> Iterator[bytes]:
        yield from (body[:3000], body[3000:])

    response = api.http.request(method, path, content=chunks() if chunked else body, headers=JSON)
    assert code(response, 413) == "body_too_large"
    assert api.read()["samples"] == 0


def test_bodies_up_to_the_limit_pass(serve: Callable[..., Api]) -> None:
    api = serve(max_body_bytes=5000)
    body = b'{"task": "classification"}'
    assert api.http.put("/v1/datasets/x", content=body.ljust(5000), headers=JSON).status_code == 201
    assert (
        code(api.http.put("/v1/datasets/y", content=body.ljust(5001), headers=JSON), 413) == "body_too_large"
    )


def test_json_bodies_of_another_type_are_told_so(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = api.http.put(
            "/v1/datasets/x", content='{"task": "classification"}', headers={"Content-Type": kind}
        )
        assert code(response, 415) == "unsupported_media_type"
    assert code(api.http.put("/v1/datasets/x"), 422) == "invalid_request"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/datasets/x", '{"task": "classification", "\\ud800": 1}'),
        ("PUT", "/v1/datasets/x", '{"task": "classification", "labels": ["\\ud800", "b"]}'),
        ("PUT", "/v1/datasets/x", '{"task": "classification", "description": "\\udfff"}'),
        ("POST", "/v1/datasets/d/scores/lookup", '{"ids": ["\\ud800"]}'),
        ("POST", "/v1/jobs", '{"dataset": "\\ud800", "kind": "score"}'),
        ("POST", "/v1/jobs", '{"dataset": "d", "kind": "\\ud800"}'),
        ("POST", "/v1/jobs", '{"dataset": "d", "kind": "score", "model": "\\ud800"}'),
        ("POST", "/v1/jobs", '{"dataset": "d", "kind": "score", "params": {"\\ud800": 1}}'),
        ("POST", "/v1/jobs", '{"dataset": "d", "kind": "score", "params": {"model_config": {"\\ud800": 1}}}'),
        (
            "POST",
            "/v1/jobs",
            '{"dataset": "d", "kind": "score", "params": {"model_config": {"a": "\\ud800"}}}',
        ),
    ],
)
def test_half_a_surrogate_pair_is_refused_anywhere(api: Api, method: str, path: str, body: str) -> None:
    assert api.http.request(method, path, content=body, headers=JSON).status_code == 422


def test_pointers_name_the_place(api: Api) -> None:
    response = api.http.put("/v1/datasets/x", json={"task": "none", "a/b~c": 1})
    assert {error["pointer"] for error in response.json()["errors"]} == {"/task", "/a~1b~0c"}
    response = api.http.get("/v1/jobs", params={"limit": 0, "state": "x"})
    assert {error["pointer"] for error in response.json()["errors"]} == {"query/limit", "query/state"}


def test_redis_that_is_away_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise RedisAway("connection refused to redis://secret-host:6379")

    monkeypatch.setattr(DatasetStore, "find", away)
    monkeypatch.setattr(DatasetStore, "get", away)
    for response in (api.get(), api.put("new"), api.post({"id": "1", "text": "t"}), api.get("/scores/1")):
        assert code(response, 503) == "service_unavailable"
        assert response.headers["Retry-After"] == "2"
        assert "secret-host" not in response.text


def test_an_unexpected_error_tells_its_id_and_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("details of the inside")

    monkeypatch.setattr(DatasetStore, "all", broken)
    monkeypatch.setattr("app.api.problems.log.error", lambda *_, **__: None)  # its traceback is not asked for
    with TestClient(create_app(settings), raise_server_exceptions=False) as http:
        response = http.get("/v1/datasets", headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == "mine"
    assert response.json().keys() == PROBLEM_FIELDS
    assert response.json()["code"] == "internal_error"
    assert "inside" not in response.json()["remedy"]
    assert "details" not in response.text


def test_a_client_that_leaves_is_no_defect(api: Api) -> None:
    """Between two chunks of its body, of which the first would have been a good row."""
    chunks = [
        {"type": "http.request", "body": b'{"id": "1", "text": "t"}\n', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return chunks.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/datasets/d/samples",
        "query_string": b"",
        "headers": [(b"content-type", b"application/x-ndjson")],
    }
    assert api.http.portal is not None
    api.http.portal.call(api.http.app, scope, receive, send)
    assert sent[0]["status"] == 400
    assert api.read()["samples"] == 0


def test_service_routes(api: Api) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}
    not_ready = api.http.get("/readyz")
    assert not_ready.status_code == 503
    assert not_ready.json() == {"status": "not ready", "redis": True, "samples": True, "worker": False}
    assert api.http.get("/readyz?worker=false").json() == not_ready.json() | {"status": "ready"}
    api.state.jobs.present.beat("w", 30)
    assert api.http.get("/readyz").json() == {
        "status": "ready",
        "redis": True,
        "samples": True,
        "worker": True,
    }
    api.get("/samples/secret-sample")
    text = api.http.get("/metrics").text
    assert 'route="/v1/datasets/{dataset}/samples/{sample_id}",status="404"' in text
    assert "secret-sample" not in text
    assert re.search(r"^gradsift_workers 1\.0$", text, re.M)


def test_codes_have_a_remedy_that_is_a_sentence() -> None:
    for name, remedy in REMEDIES.items():
        assert re.fullmatch(r"[a-z0-9_]+", name)
        assert remedy.endswith((".", ":")) or remedy[-1].isalnum(), name


# -- many odd requests ---------------------------------------------------------------------------------
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, 1e300, "", "x", "d", "1", "../..", "\x00", "名😀", "'", "%", "x" * 300,
    [], [1], ["a", "a"], {}, {"a": 1}, [[]], {"id": "1", "text": "t"}, [{"id": "1", "text": "t"}],
]  # fmt: skip
FIELDS = [
    "task", "labels", "description", "samples", "id", "text", "text_pair", "label", "group", "split",
    "weight", "meta", "ids", "dataset", "kind", "model", "params", "webhook", "model_config", "seed",
]  # fmt: skip
QUERIES = [
    "limit",
    "cursor",
    "set",
    "split",
    "label",
    "q",
    "min_importance",
    "order",
    "version",
    "format",
    "include",
    "state",
]
SEGMENTS = [
    "d",
    "nobody",
    "1",
    "lookup",
    "export",
    "core",
    "noise",
    "best",
    "%00",
    "%ff",
    "名",
    "..",
    "%2e%2e",
    "a%2Fb",
    "x" * 200,
]
KINDS = [
    "application/json",
    "text/csv",
    "application/x-ndjson",
    "text/plain",
    "",
    "application/json; charset=x",
]


def odd_body(turn: random.Random, depth: int = 0) -> Any:
    if depth > 2 or turn.random() < 0.3:
        return turn.choice(ODD)
    if turn.random() < 0.2:
        return [odd_body(turn, depth + 1) for _ in range(turn.randrange(3))]
    return {turn.choice(FIELDS): odd_body(turn, depth + 1) for _ in range(turn.randrange(5))}


def odd_bytes(turn: random.Random) -> bytes:
    body = json.dumps(odd_body(turn), ensure_ascii=turn.random() < 0.5).encode()
    if turn.random() < 0.3:
        at = turn.randrange(len(body) + 1)
        body = (
            body[:at]
            + turn.choice([b"", b'"', b"\xff", b"\n", b"{", b"NaN", b",,", b"\\ud800"])
            + body[at + 1 :]
        )
    return body


@pytest.mark.parametrize("seed", range(8))
def test_no_request_meets_an_internal_error(api: Api, seed: int) -> None:
    """`check_answer` looks at every one of them."""
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    api.player.score({"1": [1.0], "2": [2.0]})
    routes = [
        (method.upper(), path)
        for path, methods in api.http.get("/openapi.json").json()["paths"].items()
        for method in methods
    ]
    turn = random.Random(seed)
    seen: set[int] = set()
    for _ in range(300):
        method, path = turn.choice(routes)
        path = re.sub(r"{\w+}", lambda _: turn.choice(SEGMENTS), path)
        if path.endswith("/events"):
            continue
        asked = turn.sample(QUERIES, turn.randrange(3)) if turn.random() < 0.5 else []
        params = {name: str(turn.choice([*ODD, "core", "ordinal", 5, "csv", "e30"]))[:900] for name in asked}
        content = odd_bytes(turn) if method in ("PUT", "POST") else None
        kind = {"Content-Type": turn.choice(KINDS)} if content is not None else {}
        seen.add(api.http.request(method, path, params=params, content=content, headers=kind).status_code)
    assert seen >= {200, 404, 422}
