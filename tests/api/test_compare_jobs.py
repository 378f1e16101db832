"""POST /v1/jobs with kind `compare`: what is compared, and with which controls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.asking import Api, code


@pytest.fixture
def ready(api: Api) -> Api:
    """`d` holds what a job needs, and two set versions."""
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    for _ in range(2):
        api.player.score({str(i): [1.0 + i] for i in range(4)})
    return api


def job(api: Api, **params: Any) -> Any:
    return api.http.post("/v1/jobs", json={"dataset": "d", "kind": "compare", "params": params})


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (None, ["full", "core@2", "random:core@2"]),
        (["core@1", "core"], ["full", "core@1", "random:core@1", "core@2", "random:core@2"]),
        (["core", "core@2", "random:core"], ["full", "core@2", "random:core@2"]),
        (["random:core"], ["full", "random:core@2"]),
        (["full"], ["full"]),
        (["random:full", "edge+core@1"], ["full", "random:full", "edge+core@1", "random:edge+core@1"]),
    ],
    ids=repr,
)
def test_controls_and_versions_are_filled_in(ready: Api, asked: list[str] | None, shown: list[str]) -> None:
    params = job(ready, **({} if asked is None else {"subsets": asked})).json()["params"]
    assert params["subsets"] == shown
    again = job(ready, **params)
    assert again.status_code == 202, "what is shown can be sent again"
    assert again.json()["params"] == params


@pytest.mark.parametrize(
    "params",
    [
        {"subsets": []},
        {"subsets": "core"},
        {"subsets": ["ids"]},
        {"subsets": ["core@0"]},
        {"subsets": ["core@"]},
        {"subsets": ["core@x"]},
        {"subsets": ["full@1"]},
        {"subsets": ["core"] * 21},
        {"seeds": 0},
        {"seeds": 21},
        {"equal": "samples"},
        {"equal": "epochs", "max_steps": 5},
        {"margin": -0.1},
        {"slices": "label"},
        {"slices": ["brand"]},
        {"slices": ["meta"]},
        {"slices": ["meta."]},
        {"slices": ["label"] * 11},
        {"early_stopping_patience": 1},
        {"set": "core"},
    ],
    ids=repr,
)
def test_params_that_are_wrong(ready: Api, params: dict[str, Any]) -> None:
    response = job(ready, **params)
    assert code(response, 422) == "invalid_request"
    assert all(error["pointer"].startswith("/params") for error in response.json()["errors"])


def test_slices_are_shown_as_used(ready: Api) -> None:
    assert job(ready).json()["params"]["slices"] == ["label", "group_size"]
    asked = ["meta.brand", "label", "meta.brand", "meta.a b.ü"]
    assert job(ready, slices=asked).json()["params"]["slices"] == ["meta.brand", "label", "meta.a b.ü"]


def test_a_version_that_is_not_there(ready: Api) -> None:
    assert code(job(ready, subsets=["core@3"]), 404) == "unknown_version"
