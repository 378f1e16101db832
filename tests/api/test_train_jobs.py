"""POST /v1/jobs with kind `train`: which samples may be asked for, and which version is meant."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.asking import Api, code


@pytest.fixture
def ready(api: Api) -> Api:
    """`d` holds what a job needs, and one set version."""
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    api.player.score({str(i): [1.0 + i] for i in range(4)})
    return api


def job(api: Api, headers: dict[str, str] | None = None, **params: Any) -> Any:
    body = {"dataset": "d", "kind": "train", "params": params}
    return api.http.post("/v1/jobs", json=body, headers=headers or {})


@pytest.mark.parametrize("text", ["core", "edge+core", "random:core+edge", "unscored"])
def test_sets_are_those_of_the_version_when_the_job_is_sent(ready: Api, text: str) -> None:
    shown = job(ready, set=text).json()["params"]
    assert (shown["set"], shown["version"], shown["ids"]) == (text, 1, None)
    assert job(ready, **shown).status_code == 202, "what is shown can be sent again"


@pytest.mark.parametrize("text", ["full", "random:full"])
def test_all_samples_need_no_version(ready: Api, text: str) -> None:
    assert job(ready, set=text).json()["params"]["version"] is None


def test_ids(ready: Api) -> None:
    shown = job(ready, ids=["1", "2"]).json()["params"]
    assert (shown["set"], shown["version"], shown["ids"]) == ("ids", None, ["1", "2"])
    assert job(ready, **shown).status_code == 202, "what is shown can be sent again"


@pytest.mark.parametrize(
    "params",
    [
        {"set": ""},
        {"set": "best"},
        {"set": "core+best"},
        {"set": "core+core"},
        {"set": "core edge"},
        {"set": "core+full"},
        {"set": "random"},
        {"set": "random:"},
        {"set": "random:ids"},
        {"set": "random:random:core"},
        {"set": "ids"},
        {"set": ["core"]},
        {"set": None},
        {"ids": []},
        {"ids": [1]},
        {"ids": ["1"], "set": "core"},
        {"ids": ["1"], "version": 1},
        {"version": 0},
        {"max_steps": 0},
        {"optim": "sgd"},
        {"label_smoothing_factor": 1.0},
        {"early_stopping_patience": 0},
        {"load_best_model_at_end": 1},
        {"core_fraction": 0.5},
        {"policy": "robust"},
        {"seeds": 2},
    ],
    ids=repr,
)
def test_params_that_are_wrong(ready: Api, params: dict[str, Any]) -> None:
    response = job(ready, **params)
    assert code(response, 422) == "invalid_request"
    assert all(error["pointer"].startswith("/params") for error in response.json()["errors"])
    assert [one["kind"] for one in ready.http.get("/v1/jobs").json()["items"]] == ["score"]


def test_versions_that_are_not_there(ready: Api, api: Api) -> None:
    assert code(job(ready, version=2), 404) == "unknown_version"
    api.put("new")
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)), name="new")
    body = {"dataset": "new", "kind": "train"}
    assert code(api.http.post("/v1/jobs", json=body), 404) == "no_sets_yet"
    assert [one["kind"] for one in api.http.get("/v1/jobs").json()["items"]] == ["score"]


def test_the_same_request_is_the_same_job_though_a_version_came_between(ready: Api) -> None:
    key = {"Idempotency-Key": "k"}
    first = job(ready, key, set="core").json()
    ready.player.end(ready.player.claim())
    ready.player.score({"1": [1.0]})
    again = job(ready, key, set="core").json()
    assert (again["id"], again["params"]["version"]) == (first["id"], 1)
    assert job(ready, set="core").json()["params"]["version"] == 2


def test_losses_of_grades_are_for_datasets_with_grades(ready: Api) -> None:
    assert job(ready, set="full").json()["params"]["loss"] == "cross_entropy"
    refused = job(ready, set="full", loss="pairwise")
    assert code(refused, 422) == "loss_needs_grades"
    assert "pairwise" in refused.json()["detail"]
    ready.put("graded", task="relevance")
    rows = ({"id": str(i), "text": "t", "label": i % 2, "group": "q"} for i in range(4))
    ready.post(*rows, name="graded")
    body: dict[str, Any] = {
        "dataset": "graded",
        "kind": "train",
        "params": {"set": "full", "loss": "listwise"},
    }
    sent = ready.http.post("/v1/jobs", json=body)
    assert sent.json()["params"]["loss"] == "listwise"
    alone = {"loss": "listwise", "per_device_train_batch_size": 1}
    for wrong in ({"loss": "hinge"}, {"loss": "mse", "label_smoothing_factor": 0.1}, alone):
        asked = body | {"params": {"set": "full", **wrong}}
        assert code(ready.http.post("/v1/jobs", json=asked), 422) == "invalid_request"
    for kind in ("score", "grow"):
        asked = {"dataset": "graded", "kind": kind, "params": {"loss": "mse"}}
        assert code(ready.http.post("/v1/jobs", json=asked), 422) == "invalid_request"
