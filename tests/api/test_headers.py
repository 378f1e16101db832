"""Headers of every answer, and none that would let pages of others in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.api.asking import Api

EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ELSEWHERE = {"Origin": "https://evil.example.net"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/datasets", 200),
        ("GET", "/v1/datasets/nobody", 404),
        ("PUT", "/v1/datasets/d", 422),
        ("POST", "/v1/datasets/d/scores/lookup", 200),
        ("GET", "/v1/audit", 200),
        ("PATCH", "/v1/datasets", 405),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
    ],
)
def test_every_answer_has_them(api: Api, method: str, path: str, status: int) -> None:
    answer = api.http.request(method, path, json={"ids": ["x"]} if method in ("POST", "PUT") else None)
    assert answer.status_code == status
    assert answer.headers.items() >= {name.lower(): value for name, value in EXPECTED.items()}.items()
    assert answer.headers.get_list("cache-control") == ["no-store" if path.startswith("/v1") else "no-cache"]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy
    assert "http" not in policy


def test_without_a_key_and_too_large_too(serve: Callable[..., Api]) -> None:
    api = serve(api_keys=("some-key",), max_body_bytes=1024)
    for content in (b"", b"x" * 2000):
        answer = api.http.post("/v1/jobs", content=content)
        assert answer.headers.items() >= {name.lower(): value for name, value in EXPECTED.items()}.items()


def test_a_stream_of_events_is_not_stored(api: Api) -> None:
    api.post(*({"id": str(i), "text": f"t{i}", "label": i % 2} for i in range(4)))
    job_id = api.job().json()["id"]
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    answer = api.http.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers.get_list("cache-control") == ["no-store"]


def test_pages_of_others_read_nothing(api: Api) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (
        api.http.get("/v1/datasets", headers=ELSEWHERE),
        api.http.options("/v1/datasets", headers=ELSEWHERE | preflight),
        api.http.options("/v1/jobs", headers=ELSEWHERE | preflight),
        api.http.get("/healthz", headers=ELSEWHERE),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert api.http.options("/v1/jobs", headers=ELSEWHERE | preflight).status_code == 405


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
def test_no_page_loads_scripts_from_elsewhere(api: Api, path: str) -> None:
    assert api.http.get(path).status_code == 404
