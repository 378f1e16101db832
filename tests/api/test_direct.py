"""The direct routes answer as the ordinary ones do: to the byte, and with all that goes with an answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.api.routes import scores, sets
from app.main import create_app
from app.services import scores as use
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from tests.api.asking import Api, check_answer, code
from tests.playing import Player

if TYPE_CHECKING:
    from httpx import Response

KEY = "a-secret-key"
ODD_ID = "ü %?#&"
NORMS = {f"s{i:02}": [float(20 - i), 0.1 * i] for i in range(20)} | {ODD_ID: [3.0]}
LOOKUP = "/v1/datasets/d/scores/lookup"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def both(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, TestClient]]:
    """Two services over one state: one with the direct routes, one with the ordinary ones alone."""
    settings = Settings(
        redis_url=redis_url,
        data_url=str(tmp_path_factory.mktemp("data")),
        key_prefix="direct",
        api_keys=(KEY,),
        max_body_bytes=200_000,
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scores, "direct", [])
        patched.setattr(sets, "direct", [])
        ordinary_app = create_app(settings)
    direct_app = create_app(settings)
    with (
        TestClient(direct_app, headers=headers, raise_server_exceptions=False) as direct,
        TestClient(ordinary_app, headers=headers, raise_server_exceptions=False) as ordinary,
    ):
        for http in (direct, ordinary):
            http.event_hooks = {"response": [check_answer]}
        player = Player(direct_app.state.service.state, settings)
        player.dataset([{"id": i, "text": f"t {i}", "label": 1} for i in [*NORMS, "unscored", "changed"]])
        player.score(NORMS | {"changed": [4.0]})
        player.send(player.state.datasets.get("d"), [{"id": "changed", "text": "other", "label": 1}])
        player.dataset([{"id": "s00", "text": "t"}], name="fresh")
        player.dataset(name="empty")
        yield direct, ordinary


def same(
    both: tuple[TestClient, TestClient],
    method: str,
    path: str,
    *,
    pieces: Sequence[bytes] = (),
    **request: Any,
) -> Response:
    """The answer of both services; it differs in nothing but the request's id."""
    answers: list[Response] = []
    for http in both:
        streamed = {"content": iter(pieces)} if pieces else {}
        answer = http.request(method, path, **request, **streamed)
        headers = dict(answer.headers)
        request_id = headers.pop("x-request-id")
        assert re.fullmatch(r"[0-9a-f]{32}", request_id)
        answers.append(answer)
        answer.extensions["compared"] = (
            answer.status_code,
            answer.content.replace(request_id.encode(), b"ID"),
            headers,
        )
    first, second = (answer.extensions["compared"] for answer in answers)
    assert first == second
    return answers[0]


SAMPLES = [*NORMS, "unscored", "changed"]


@pytest.mark.parametrize("sample_id", [*SAMPLES[::4], "unscored", "changed"])
def test_a_score_to_the_byte(both: tuple[TestClient, TestClient], sample_id: str) -> None:
    answer = same(both, "GET", f"/v1/datasets/d/scores/{quote(sample_id)}")
    assert answer.status_code == 200
    assert answer.json()["id"] == sample_id


@examples(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(st.one_of(st.sampled_from(SAMPLES), st.text(max_size=5)), max_size=30),
    name=st.sampled_from(["d", "fresh", "empty", "nowhere"]),
    at_a_time=st.integers(1, 12),
)
def test_look_ups_to_the_byte(
    both: tuple[TestClient, TestClient], ids: list[str], name: str, at_a_time: int
) -> None:
    body = json.dumps({"ids": ids})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(use, "IDS_AT_A_TIME", at_a_time)
        same(both, "POST", f"/v1/datasets/{name}/scores/lookup", content=body, headers=JSON)


@pytest.mark.parametrize("path", ["fresh/scores/s00", "d/scores/é%20%3F%23", "d/scores/lookup"])
def test_other_scores(both: tuple[TestClient, TestClient], path: str) -> None:
    same(both, "GET", f"/v1/datasets/{path}")


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/v1/datasets/d/scores/nobody", 404, "unknown_sample"),
        ("GET", "/v1/datasets/nowhere/scores/s00", 404, "unknown_dataset"),
        ("GET", "/v1/datasets/d/scores/", 404, "unknown_route"),
        ("GET", "/v1/datasets/d/scores/a/b", 404, "unknown_route"),
        ("PUT", "/v1/datasets/d/scores/s00", 405, "method_not_allowed"),
        ("POST", "/v1/datasets/d/scores/s00", 405, "method_not_allowed"),
        ("POST", "/v1/datasets/nowhere/scores/lookup", 404, "unknown_dataset"),
    ],
)
def test_refusals_are_the_same(
    both: tuple[TestClient, TestClient], method: str, path: str, status: int, told: str
) -> None:
    assert code(same(both, method, path), status) == told


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"ids": ["s00"]}', "application/json; charset=utf-8", 200),
        (b'{"ids": ["s00"]}', "Application/JSON", 200),
        (b'{"ids": ["s00"]}', "application/problem+json", 200),
        (b'\xef\xbb\xbf{"ids": ["s00"]}', "application/json", 200),
        ('{"ids": ["s00"]}'.encode("utf-16"), "application/json", 200),
        (b'{"ids": ["s01"], "ids": ["s00"]}', "application/json", 200),
        (b'{"ids": ["s00"]}', "text/plain", 415),
        (b'{"ids": ["s00"]', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"", "application/json", 422),
        (b"null", "application/json", 422),
        (b'["s00"]', "application/json", 422),
        (b'{"ids": "s00"}', "application/json", 422),
        (b'{"ids": [1]}', "application/json", 422),
        (b'{"ids": ["s00", null]}', "application/json", 422),
        (b'{"ids": ["\\ud800"]}', "application/json", 422),
        (b'{"ids": ["s00"], "more": 1}', "application/json", 422),
        (b'{"ids": [' + b",".join([b'"x"'] * 10_001) + b"]}", "application/json", 413),
        (b'{"ids": ["' + b"x" * 200_000 + b'"]}', "application/json", 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bodies_of_any_kind(both: tuple[TestClient, TestClient], body: bytes, kind: str, status: int) -> None:
    answer = same(both, "POST", LOOKUP, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("body", [b'{"ids": ["s00", "s01"]}', b'{"ids": "s00"}', b'{"ids": ["s00"]'])
def test_a_body_in_pieces(both: tuple[TestClient, TestClient], body: bytes) -> None:
    whole = same(both, "POST", LOOKUP, content=body, headers=JSON)
    pieces = same(both, "POST", LOOKUP, pieces=[body[:4], body[4:9], body[9:]], headers=JSON)
    assert pieces.extensions["compared"] == whole.extensions["compared"]


@pytest.mark.parametrize("name", ["core", "edge", "noise", "unscored", "CORE"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "limit=3",
        "order=importance&limit=4",
        "version=1",
        "limit=1&limit=2",
        "other=1",
        "version=2",
        "version=0",
        "version=null",
        "version=",
        "version=1.0",
        "version=%201",
        "version=9999999999999999999999",
        "limit=0",
        "limit=1001",
        "limit=1_0",
        "limit=ten",
        "order=id",
        "order=",
        "cursor=",
        "cursor=null",
        "cursor=e30",
        "cursor=" + "x" * 1025,
    ],
)
def test_pages_to_the_byte(both: tuple[TestClient, TestClient], name: str, query: str) -> None:
    same(both, "GET", f"/v1/datasets/d/sets/{name}?{query}")


def test_pages_by_their_cursors_to_the_byte(both: tuple[TestClient, TestClient]) -> None:
    path, seen = "/v1/datasets/d/sets/core?limit=4", 0
    while True:
        page = same(both, "GET", path).json()
        seen += len(page["items"])
        if page["next_cursor"] is None:
            break
        path = f"/v1/datasets/d/sets/core?limit=4&cursor={page['next_cursor']}"
    assert seen == page["total"] > 4
    assert code(same(both, "GET", "/v1/datasets/nowhere/sets/core"), 404) == "unknown_dataset"
    assert code(same(both, "GET", "/v1/datasets/fresh/sets/core"), 404) == "no_sets_yet"


def test_a_key_is_asked_for(both: tuple[TestClient, TestClient]) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        assert code(same(both, "GET", "/v1/datasets/d/scores/s00", headers=headers), 401) == "unauthorized"
        assert code(same(both, "POST", LOOKUP, json={"ids": []}, headers=headers), 401) == "unauthorized"


def test_it_is_the_direct_way_that_answers(
    both: tuple[TestClient, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ordinary(*_: Any) -> None:
        raise AssertionError("the ordinary way was taken")

    monkeypatch.setattr(use, "score", ordinary)
    monkeypatch.setattr(use, "scores", ordinary)
    direct, _ = both
    assert direct.get("/v1/datasets/d/scores/s00").status_code == 200
    assert direct.post(LOOKUP, json={"ids": ["s00", "nobody"]}).status_code == 200


def test_an_unexpected_error_has_its_document(
    both: tuple[TestClient, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(use, "score_json", broken)
    monkeypatch.setattr(both[0], "event_hooks", {"response": []})  # it refuses any 500
    answer = both[0].get("/v1/datasets/d/scores/s00")
    assert code(answer, 500) == "internal_error"
    assert "a defect" not in answer.text
    assert answer.headers.get_list("X-Request-ID") == [answer.json()["request_id"]]


def test_request_ids_and_metrics(both: tuple[TestClient, TestClient]) -> None:
    direct, _ = both
    answer = direct.get("/v1/datasets/d/scores/s00", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    series = 'gradsift_request_seconds_count{method="GET",route="/v1/datasets/{dataset}/scores/{sample_id}",'
    assert f'{series}status="200"}}' in direct.get("/metrics").text


def test_a_redis_that_dies_is_a_503_and_is_found_again(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        settings = Settings(redis_url=server.url, data_url=str(tmp_path))
        app = create_app(settings)
        with TestClient(app, raise_server_exceptions=False) as http:
            http.event_hooks = {"response": [check_answer]}
            api = Api(http, app.state.service.state, settings)
            api.player.dataset([{"id": "a", "text": "t"}])
            api.player.score({"a": [1.0]})
            api.state.make_durable()
            before = api.read("/scores/a")
            server.kill()
            began = time.monotonic()
            for answer in (api.get("/scores/a"), http.post(LOOKUP, json={"ids": ["a"]})):
                assert code(answer, 503) == "service_unavailable"
                assert answer.headers["Retry-After"] == "2"
                assert "sock" not in answer.text
            assert time.monotonic() - began < 4
            server.start()
            assert api.read("/scores/a") == before
