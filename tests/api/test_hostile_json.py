"""JSON made to hurt: deep, huge, ambiguous. Refused in no time, and never with a 5xx."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.api.asking import Api

SECONDS = 5.0
"""Of processor time; 2.2 were seen on the slowest machine of CI so far."""
DEPTH = 500_000


@pytest.fixture
def quick() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS


DEEP = {
    "lists": b"[" * 10_000_000,
    "closed lists": b"[" * DEPTH + b"]" * DEPTH,
    "objects": b'{"a":' * (DEPTH // 5),
    "lists in samples": b'{"samples": [' + b"[" * DEPTH + b"]" * DEPTH + b"]}",
    "meta": b'{"samples": [{"id": "a", "text": "t", "meta": ' + b'{"a":' * (DEPTH // 5) + b"1",
    "closed meta": b'{"samples": [{"id": "a", "text": "t", "meta": {"a": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}]}",
    "params": b'{"dataset": "d", "kind": "score", "params": {"seed": ' + b"[" * DEPTH + b"]" * DEPTH + b"}}",
    "ids": b'{"ids": [' + b"[" * DEPTH + b"]" * DEPTH + b"]}",
}
PATHS = {
    "samples": ("POST", "/v1/datasets/d/samples"),
    "events": ("POST", "/v1/datasets/d/events"),
    "dataset": ("PUT", "/v1/datasets/new"),
    "jobs": ("POST", "/v1/jobs"),
    "look-up": ("POST", "/v1/datasets/d/scores/lookup"),
    "predict": ("POST", "/v1/datasets/d/predict"),
    "review": ("POST", "/v1/datasets/d/samples/a/review"),
}
JSON = {"Content-Type": "application/json"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("path", PATHS)
def test_deep_nesting(api: Api, path: str, deep: str) -> None:
    method, url = PATHS[path]
    response = api.http.request(method, url, content=DEEP[deep], headers=JSON)
    assert 400 <= response.status_code < 500
    assert len(response.content) < 10_000, "the answer does not repeat the question"


@pytest.mark.usefixtures("quick")
def test_deep_lines(api: Api) -> None:
    line = b'{"id": "a", "text": "t", "meta": {"a": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}}\n"
    response = api.body(line + b'{"id": "b", "text": "good"}\n', "application/x-ndjson")
    assert response.status_code == 207
    assert [one["index"] for one in response.json()["rejected"]] == [0]


ODD_VALUES = {
    "digits": b"9" * 2_000_000,
    "exponent": b"1e999999999",
    "small exponent": b"1e-999999999",
    "negative": b"-" + b"9" * 400,
    "fraction": b"0." + b"3" * 1_000_000,
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "null character": rb'"\u0000"',
    "lone surrogate": rb'"\ud800"',
    "reversed surrogates": rb'"\udc00\ud800"',
    "not UTF-8": b'"\xff\xfe"',
    "overlong": b'"\xc0\x80"',
    "raw control": b'"\x00"',
}
BODIES = {
    "weight": ("samples", b'{"samples": [{"id": "a", "text": "t", "weight": %b}]}'),
    "label": ("samples", b'{"samples": [{"id": "a", "text": "t", "label": %b}]}'),
    "text": ("samples", b'{"samples": [{"id": "a", "text": %b}]}'),
    "id": ("samples", b'{"samples": [{"id": %b, "text": "t"}]}'),
    "meta": ("samples", b'{"samples": [{"id": "a", "text": "t", "meta": {"a": %b}}]}'),
    "timestamp": ("events", b'{"events": [{"user": "u", "item": "i", "behavior": "view", "timestamp": %b}]}'),
    "seed": ("jobs", b'{"dataset": "d", "kind": "score", "params": {"seed": %b}}'),
    "rate": ("jobs", b'{"dataset": "d", "kind": "score", "params": {"learning_rate": %b}}'),
    "config": ("jobs", b'{"dataset": "d", "kind": "score", "params": {"model_config": {"a": %b}}}'),
    "ids": ("look-up", b'{"ids": [%b]}'),
    "task": ("dataset", b'{"task": %b}'),
    "description": ("dataset", b'{"task": "classification", "description": %b}'),
    "labels": ("dataset", b'{"task": "classification", "labels": [%b, "b"]}'),
    "texts": ("predict", b'{"texts": [{"text": %b}]}'),
    "verdict": ("review", b'{"verdict": "wrong", "label": %b}'),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("field", BODIES)
def test_odd_values(api: Api, field: str) -> None:
    """Some are good: a text may have many digits. What counts is that nothing breaks or takes long."""
    path, body = BODIES[field]
    method, url = PATHS[path]
    for value in ODD_VALUES.values():
        response = api.http.request(method, url, content=body % value, headers=JSON)
        assert response.status_code < 500
        assert response.status_code < 300 or len(response.content) < 10_000
    assert api.http.get("/v1/datasets").status_code == 200
    assert api.http.get("/v1/datasets/d/samples").status_code == 200


@pytest.mark.usefixtures("quick")
def test_a_key_given_twice_and_many_keys(api: Api) -> None:
    twice = b'{"samples": [{"id": "a", "id": "b", "text": "t"}]}'
    assert api.body(twice).status_code < 500
    keys = b",".join(b'"k%d": 1' % n for n in range(200_000))
    response = api.body(b'{"samples": [{"id": "a", "text": "t", "meta": {%b}}]}' % keys)
    assert response.status_code < 500
    unknown = api.http.post("/v1/jobs", content=b"{%b}" % keys, headers=JSON)
    assert 400 <= unknown.status_code < 500
    assert len(unknown.content) < 100_000
