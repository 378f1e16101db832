"""Asking the service; every error answer is checked to be a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.testclient import TestClient

from app.errors import REMEDIES
from app.settings import Settings
from app.store.state import State
from tests.playing import Player, Row

if TYPE_CHECKING:
    from httpx import Response  # what the test client answers is of the same make

PROBLEM_FIELDS = {"type", "title", "status", "detail", "code", "remedy", "request_id"}


def check_answer(response: Response) -> None:
    """What holds for every answer, whatever was asked."""
    response.read()
    assert response.headers["X-Request-ID"]
    assert response.status_code != 500, response.text
    if response.status_code < 400 or response.request.url.path == "/readyz":
        return
    assert response.headers["content-type"] == "application/problem+json"
    if response.request.method == "HEAD":
        return
    problem = response.json()
    assert problem.keys() >= PROBLEM_FIELDS
    assert problem["status"] == response.status_code
    assert problem["code"] in REMEDIES
    assert problem["type"] == f"urn:gradsift:problem:{problem['code']}"
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert all(problem[name] for name in ("title", "detail", "remedy"))
    for error in problem.get("errors", []):
        assert "index" in error or "pointer" in error
        assert error["detail"]


class Api:
    """One dataset's routes in few words; `http` is the client itself."""

    def __init__(self, http: TestClient, state: State, settings: Settings) -> None:
        self.http = http
        self.player = Player(state, settings)
        self.state = state

    def put(self, name: str = "d", **body: Any) -> Response:
        return self.http.put(f"/v1/datasets/{name}", json={"task": "classification"} | body)

    def post(self, *rows: Row, name: str = "d") -> Response:
        return self.http.post(f"/v1/datasets/{name}/samples", json={"samples": rows})

    def body(self, content: str | bytes, kind: str = "application/json", name: str = "d") -> Response:
        headers = {"Content-Type": kind}
        return self.http.post(f"/v1/datasets/{name}/samples", content=content, headers=headers)

    def get(self, path: str = "", name: str = "d", **params: Any) -> Response:
        return self.http.get(f"/v1/datasets/{name}{path}", params=params)

    def read(self, path: str = "", name: str = "d", **params: Any) -> Any:
        response = self.get(path, name, **params)
        assert response.status_code == 200, response.text
        return response.json()

    def job(self, **body: Any) -> Response:
        return self.http.post("/v1/jobs", json={"dataset": "d", "kind": "score"} | body)

    def walk(self, path: str, name: str = "d", **params: Any) -> list[str]:
        """The ids of every page, by the cursors that the service gives."""
        ids: list[str] = []
        while True:
            page = self.read(path, name, **params)
            assert len(page["items"]) <= params.get("limit", 100)
            ids += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                return ids
            params["cursor"] = page["next_cursor"]


def code(response: Response, status: int) -> str:
    """The code of a problem of that status."""
    assert response.status_code == status, response.text
    return str(response.json()["code"])
