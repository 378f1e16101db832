"""/v1/jobs: what is refused, what is recorded, how it is followed and ended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.contracts import JobError, JobKind, JobState, Progress
from app.contracts.params import GrowParams, JobParams, ScoreParams
from app.services.cursors import encode_cursor
from app.services.jobs import JobsCursor
from app.store.artifacts import ArtifactStore
from tests.api.asking import Api, code

PROGRESS = Progress(phase="training", step=3, total_steps=10, fraction=0.3, samples_per_second=5.0)


@pytest.fixture
def ready(api: Api) -> Api:
    """`d` holds what a job needs."""
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    return api


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(serve: Callable[..., Api]) -> None:
    ready = serve(max_queued_jobs=2)
    ready.put()
    ready.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    first = ready.job()
    assert ready.job().status_code == 202
    refused = ready.job()
    assert code(refused, 429) == "queue_full"
    assert int(refused.headers["Retry-After"]) > 0
    assert len(ready.http.get("/v1/jobs").json()["items"]) == 2
    ready.http.post(f"/v1/jobs/{first.json()['id']}/cancel")
    assert ready.job().status_code == 202


def test_a_dry_run_records_nothing(ready: Api) -> None:
    body = {"dataset": "d", "kind": "score", "params": {"num_train_epochs": 2}}
    answer = ready.http.post("/v1/jobs", params={"dry_run": True}, json=body)
    assert answer.status_code == 200
    assert "Location" not in answer.headers
    told = answer.json()
    assert (told["kind"], told["dataset"], told["model"]) == ("score", "d", "demo")
    assert (told["params"]["num_train_epochs"], told["params"]["max_length"]) == (2, 128)
    assert (told["estimate"]["steps"], told["estimate"]["train_samples"]) == (2, 4)
    assert ready.http.get("/v1/jobs").json()["items"] == []
    body["params"] = {"num_train_epochs": 0}
    refused = ready.http.post("/v1/jobs", params={"dry_run": True}, json=body)
    assert code(refused, 422) == "invalid_request"


def test_a_job_is_recorded_with_its_defaults_filled_in(ready: Api) -> None:
    response = ready.job(
        params={"num_train_epochs": 1, "learning_rate": 0, "model_config": {"num_hidden_layers": 2}}
    )
    assert response.status_code == 202
    job = response.json()
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert ready.http.get(response.headers["Location"]).json() == job
    assert (job["kind"], job["dataset"], job["model"], job["state"], job["attempt"]) == (
        "score",
        "d",
        "demo",
        "queued",
        0,
    )
    nulls = ("started_at", "finished_at", "lineage", "result", "error")
    assert [job[name] for name in nulls] == [None] * 5
    assert job["progress"]["fraction"] == 0
    assert job["created_at"].endswith("Z")
    params = job["params"]
    assert (params["num_train_epochs"], params["learning_rate"], params["seed"]) == (1, 0, 42)
    assert params["model_config"] == {"num_hidden_layers": 2}
    assert ready.job(params=params).status_code == 202, "what is shown can be sent again"


@pytest.mark.parametrize(
    "params",
    [
        {"num_epochs": 1},
        {"num_train_epochs": 0},
        {"num_train_epochs": -1},
        {"num_train_epochs": "3"},
        {"num_train_epochs": 3.0},
        {"num_train_epochs": 1.5},
        {"num_train_epochs": True},
        {"num_train_epochs": None},
        {"num_train_epochs": 10**30},
        {"learning_rate": -1e-5},
        {"learning_rate": "1e-5"},
        {"learning_rate": True},
        {"learning_rate": [1e-5]},
        {"per_device_train_batch_size": 0},
        {"gradient_accumulation_steps": 0},
        {"warmup_ratio": 1.5},
        {"weight_decay": -0.1},
        {"optim": "sgd"},
        {"lr_scheduler_type": "step"},
        {"seed": -1},
        {"seed": 2**32},
        {"bf16": "yes"},
        {"fp16": 1},
        {"bf16": True, "fp16": True},
        {"max_length": 0},
        {"model_config": []},
        {"model_config": {"a": {"b": 1}}},
        {"model_config": {"a": [1]}},
        {"policy": "best"},
        {"policy": "random", "noise_fraction": 0.1},
        {"policy": "seed", "trusted_validation": True},
        {"policy": "seed", "core_fraction": 0.95},
        {"noise_fraction": 1.5},
        {"trusted_validation": "yes"},
        {"core_fraction": 1.1},
        {"core_fraction": 0.6, "noise_fraction": 0.5},
        {"validation_fraction": 0.9},
        {"early_stopping_patience": 0},
        {"seeds": 0},
        {"seeds": 21},
        {"cross_fit": 1},
        {"cross_fit": 11},
        {"cross_fit": 5, "policy": "seed"},
        {"fresh": "yes"},
        "fast",
        [],
        None,
    ],
    ids=repr,
)
def test_params_that_are_wrong(ready: Api, params: Any) -> None:
    response = ready.job(params=params)
    assert code(response, 422) == "invalid_request"
    assert all(error["pointer"].startswith("/params") for error in response.json()["errors"])
    assert ready.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite(ready: Api, number: str) -> None:
    for param in (f'"learning_rate": {number}', f'"model_config": {{"dropout": {number}}}'):
        body = f'{{"dataset": "d", "kind": "score", "params": {{{param}}}}}'
        response = ready.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert code(response, 422) == "invalid_request"


@pytest.mark.parametrize(
    ("change", "expected", "status"),
    [
        ({"dataset": "nobody"}, "unknown_dataset", 404),
        ({"dataset": "../d"}, "unknown_dataset", 404),
        ({"dataset": None}, "invalid_request", 422),
        ({"dataset": 1}, "invalid_request", 422),
        ({"kind": "distil"}, "unknown_kind", 422),
        ({"kind": "GROW"}, "unknown_kind", 422),
        ({"kind": "SCORE"}, "unknown_kind", 422),
        ({"kind": None}, "invalid_request", 422),
        ({"kind": 1}, "invalid_request", 422),
        ({"kind": "distil", "dataset": 1}, "invalid_request", 422),
        ({"model": ""}, "invalid_request", 422),
        ({"model": 5}, "invalid_request", 422),
        ({"model": "x" * 2000}, "invalid_request", 422),
        ({"webhook": "http://example.org"}, "webhook_unavailable", 422),
        ({"webhook": 5}, "invalid_request", 422),
        ({"priority": 1}, "invalid_request", 422),
    ],
    ids=lambda value: str(value)[:40],
)
def test_requests_that_are_wrong(ready: Api, change: dict[str, Any], expected: str, status: int) -> None:
    assert code(ready.job(**change), status) == expected


# -- params by the kind --------------------------------------------------------------------------------
def test_a_grow_job_is_recorded_and_shown_with_the_params_of_its_kind(ready: Api) -> None:
    response = ready.job(kind="grow", params={"initial_fraction": 0.2, "max_visits": 1000})
    assert response.status_code == 202
    job = response.json()
    assert job["kind"] == "grow"
    assert job["params"] == GrowParams(initial_fraction=0.2, max_visits=1000).model_dump(mode="json")
    assert (job["params"]["max_rounds"], job["params"]["max_minutes"]) == (5, None)
    assert ready.http.get(response.headers["Location"]).json() == job
    claim = ready.player.claim()
    assert (claim.job.kind, claim.job.params) == (JobKind.GROW, job["params"])
    assert ready.job(kind="grow", params=job["params"]).status_code == 202, "what is shown can be sent again"


@pytest.mark.parametrize(("kind", "of_the_kind"), [("score", ScoreParams), ("grow", GrowParams)])
@pytest.mark.parametrize("params", [{}, {"params": {}}, {"params": {"seed": 7}}], ids=repr)
def test_params_that_are_known_to_both_kinds(
    ready: Api, kind: str, of_the_kind: type[JobParams], params: dict[str, Any]
) -> None:
    """Nothing in them but the kind says whose they are."""
    job = ready.job(kind=kind, **params).json()
    shown = job["params"]
    assert shown == of_the_kind.model_validate(params.get("params", {})).model_dump(mode="json")
    assert [job["params"] for job in listed(ready).json()["items"]] == [shown]
    assert cancel(ready, job["id"]).json()["params"] == shown
    assert [then["params"] for _, then in events(ready, job["id"])] == [shown, shown]


@pytest.mark.parametrize(
    ("kind", "params", "pointers"),
    [
        ("grow", {"alignment_steps": 50}, ["/params/alignment_steps"]),
        ("grow", {"early_stopping_patience": 2}, ["/params/early_stopping_patience"]),
        (
            "grow",
            {"response": "vector", "projection_dim": 64},
            ["/params/response", "/params/projection_dim"],
        ),
        ("grow", {"policy": "seed"}, ["/params/policy"]),
        ("grow", {"initial_fraction": 0.6}, ["/params"]),
        ("grow", {"initial_fraction": 0}, ["/params/initial_fraction"]),
        ("grow", {"core_fraction": 0.1}, ["/params"]),
        ("grow", {"max_rounds": 0, "max_minutes": "5"}, ["/params/max_minutes", "/params/max_rounds"]),
        ("grow", {"peft": {"r": 0}}, ["/params/peft/r"]),
        ("score", {"peft": {"method": "adalora"}}, ["/params/peft/method"]),
        ("train", {"peft": {"method": "prefix"}}, ["/params/peft/method"]),
        ("train", {"peft": {"init_r": 12}}, ["/params/peft"]),
        ("train", {"peft": {"method": "adalora", "init_r": 8}}, ["/params/peft"]),
        ("grow", {"grow": {}}, ["/params/grow"]),
        ("grow", "fast", ["/params"]),
        ("grow", None, ["/params"]),
        ("score", {"initial_fraction": 0.2}, ["/params/initial_fraction"]),
        ("score", {"max_rounds": 5, "min_gain": 0.01}, ["/params/max_rounds", "/params/min_gain"]),
        ("score", {"round_patience": 2, "seed": -1}, ["/params/seed", "/params/round_patience"]),
        ("score", {"max_visits": None, "max_minutes": 0}, ["/params/max_minutes", "/params/max_visits"]),
    ],
    ids=repr,
)
def test_params_of_the_other_kind_are_refused(
    ready: Api, kind: str, params: Any, pointers: list[str]
) -> None:
    response = ready.job(kind=kind, params=params)
    assert code(response, 422) == "invalid_request"
    assert [error["pointer"] for error in response.json()["errors"]] == pointers
    assert ready.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("distil", "no such kind"),
        (None, "'score', 'grow', 'train', 'compare'"),
        (["grow"], "'score', 'grow', 'train', 'compare'"),
    ],
    ids=repr,
)
def test_a_wrong_kind_hides_no_other_error(ready: Api, kind: Any, told: str) -> None:
    response = ready.job(kind=kind, dataset=1, params={"seed": -1})
    assert code(response, 422) == "invalid_request"
    errors = {error["pointer"]: error["detail"] for error in response.json()["errors"]}
    assert errors.keys() == {"/dataset", "/kind", "/params/seed"}
    assert told in errors["/kind"]


def test_a_kind_that_is_missing(ready: Api) -> None:
    problem = ready.http.post("/v1/jobs", json={"dataset": "d"}).json()
    assert (problem["status"], problem["code"]) == (422, "invalid_request")
    assert problem["errors"] == [{"pointer": "/kind", "detail": "Field required"}]


def test_a_dataset_must_be_trainable(api: Api) -> None:
    assert code(api.job(), 422) == "dataset_empty"
    api.post({"id": "1", "text": "t"}, {"id": "2", "text": "t", "label": "a", "split": "test"})
    assert code(api.job(), 422) == "dataset_empty"
    api.post({"id": "3", "text": "t", "label": 1}, {"id": "4", "text": "t", "label": "1"})
    assert code(api.job(), 422) == "too_few_classes"
    api.post({"id": "5", "text": "t", "label": "b", "split": "validation"})
    assert code(api.job(), 422) == "too_few_classes"
    api.post({"id": "6", "text": "t", "label": "b"})
    assert api.job().status_code == 202


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"x"', "[" * 50_000, b"\xff"], ids=lambda c: str(c)[:10]
)
def test_bodies_that_are_no_job(ready: Api, content: str | bytes) -> None:
    response = ready.http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    form = ready.http.post(
        "/v1/jobs", content="dataset=d", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert code(form, 415) == "unsupported_media_type"


# -- models --------------------------------------------------------------------------------------------
def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_models_that_may_be_used(serve: Callable[..., Api], tmp_path: Path) -> None:
    elsewhere = model_folder(tmp_path / "elsewhere" / "m")
    model_folder(tmp_path / "models" / "own")
    model_folder(tmp_path / "models" / "team" / "own")
    api = serve(allowed_models=(str(elsewhere.parent), "acme/bert-*"), allow_hub=True)
    api.put()
    api.post(*({"id": str(i), "text": "t", "label": i} for i in range(2)))
    for name in ("demo", "own", "team/own", str(elsewhere), f"{elsewhere}/../m", "acme/bert-base"):
        assert api.job(model=name).status_code == 202, name


@pytest.mark.parametrize(
    ("name", "expected", "status"),
    [
        ("nobody", "unknown_model", 422),
        ("x" * 300, "unknown_model", 422),
        ("a\x00b", "unknown_model", 422),
        ("~nobody-here/m", "unknown_model", 422),
        ("models", "unknown_model", 422),
        ("loop", "unknown_model", 422),
        ("empty", "unknown_model", 422),
        ("~", "model_not_allowed", 403),
        ("/", "model_not_allowed", 403),
        ("/etc", "model_not_allowed", 403),
        (".", "model_not_allowed", 403),
        ("..", "model_not_allowed", 403),
        ("../elsewhere/m", "model_not_allowed", 403),
        ("own/../../elsewhere/m", "model_not_allowed", 403),
        ("{tmp}/elsewhere/m", "model_not_allowed", 403),
        ("{tmp}/allowed/../elsewhere/m", "model_not_allowed", 403),
        ("{tmp}/allowed/way-out", "model_not_allowed", 403),
        ("{tmp}/allowed-not", "model_not_allowed", 403),
        ("{tmp}/allowed/nothing", "unknown_model", 422),
        ("somebody/bert", "model_not_allowed", 403),
        ("acme/bert-base", "model_not_allowed", 403),
    ],
)
def test_models_that_may_not(
    serve: Callable[..., Api], tmp_path: Path, name: str, expected: str, status: int
) -> None:
    outside = model_folder(tmp_path / "elsewhere" / "m")
    model_folder(tmp_path / "models" / "own")
    model_folder(tmp_path / "allowed" / "ok")
    model_folder(tmp_path / "allowed-not")
    (tmp_path / "models" / "empty").mkdir()
    (tmp_path / "models" / "loop").symlink_to("loop")
    (tmp_path / "models" / "way-out").symlink_to(outside)
    (tmp_path / "allowed" / "way-out").symlink_to(outside)
    api = serve(allowed_models=(str(tmp_path / "allowed"), "acme/bert-*"))
    api.put()
    api.post(*({"id": str(i), "text": "t", "label": i} for i in range(2)))
    assert code(api.job(model=name.replace("{tmp}", str(tmp_path))), status) == expected
    assert code(api.job(model="way-out"), 422) == "unknown_model"


# -- once only -----------------------------------------------------------------------------------------
def keyed(api: Api, key: str, **body: Any) -> Any:
    return api.http.post(
        "/v1/jobs", json={"dataset": "d", "kind": "score"} | body, headers={"Idempotency-Key": key}
    )


def test_the_same_key_and_request_give_the_same_job(ready: Api) -> None:
    first, again = keyed(ready, "k"), keyed(ready, "k", params={"num_train_epochs": 3})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"], "a default that is written out is the same request"
    assert keyed(ready, "k2").json()["id"] != first.json()["id"]
    assert len(ready.http.get("/v1/jobs").json()["items"]) == 2


def test_the_same_key_for_another_request_is_refused(ready: Api) -> None:
    keyed(ready, "k")
    assert code(keyed(ready, "k", params={"seed": 1}), 409) == "idempotency_key_reused"
    assert code(keyed(ready, "k", kind="grow"), 409) == "idempotency_key_reused"
    assert code(keyed(ready, ""), 422) == "invalid_request"
    assert code(keyed(ready, "k" * 300), 422) == "invalid_request"


def test_a_key_does_not_reach_into_a_dataset_of_the_same_name(ready: Api) -> None:
    old = keyed(ready, "k").json()["id"]
    ready.http.delete("/v1/datasets/d")
    ready.put()
    ready.post(*({"id": str(i), "text": "t", "label": i} for i in range(2)))
    assert ready.http.get(f"/v1/jobs/{old}").json()["state"] == "cancelled"
    assert code(keyed(ready, "k"), 409) == "idempotency_key_reused"


def test_the_same_request_many_times_at_once_makes_one_job(ready: Api) -> None:
    with ThreadPoolExecutor(6) as pool:
        ids = {answer.json()["id"] for answer in pool.map(lambda _: keyed(ready, "k"), range(12))}
    assert len(ids) == 1
    assert ready.state.jobs.waiting() == 1


# -- ending --------------------------------------------------------------------------------------------
def cancel(api: Api, job_id: str) -> Any:
    return api.http.post(f"/v1/jobs/{job_id}/cancel")


def test_a_waiting_job_is_cancelled_at_once_and_stays_so(ready: Api) -> None:
    job_id = ready.job().json()["id"]
    for _ in range(2):
        answer = cancel(ready, job_id)
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert answer.json()["finished_at"] is not None
    assert ready.state.jobs.claim("w", 5) is None


def test_a_running_job_is_asked_to_stop(ready: Api) -> None:
    job_id = ready.job().json()["id"]
    claim = ready.player.claim()
    assert cancel(ready, job_id).json()["state"] == "running"
    assert ready.state.jobs.renew(claim, 5, PROGRESS) == "cancel"
    ready.player.end(claim, JobState.CANCELLED)
    assert ready.http.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"


@pytest.mark.parametrize("ended", [JobState.SUCCEEDED, JobState.FAILED])
def test_a_finished_job_cannot_be_cancelled(ready: Api, ended: JobState) -> None:
    job_id = ready.job().json()["id"]
    error = JobError(code="worker_lost", detail="d", remedy="r") if ended is JobState.FAILED else None
    ready.state.jobs.end(ready.player.claim(), ended, progress=PROGRESS, result={"a": 1}, error=error)
    assert code(cancel(ready, job_id), 409) == "job_finished"
    job = ready.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["result"], job["attempt"]) == (ended.value, {"a": 1}, 1)
    assert job["error"] == (None if error is None else error.model_dump())


def test_a_job_cancelled_between_two_attempts_leaves_nothing_behind(ready: Api, tmp_path: Path) -> None:
    job_id = ready.job().json()["id"]
    claim = ready.player.claim()
    dataset = ready.state.datasets.get("d")
    ready.state.samples.pin(dataset, job_id)
    ArtifactStore(str(tmp_path), job_id).write("checkpoint.pt", b"half done")
    ready.state.jobs.end(claim, JobState.QUEUED, progress=PROGRESS)
    cancel(ready, job_id)
    assert list((tmp_path / "jobs").iterdir()) == []
    assert ready.state.samples.table(dataset).tags.list() == {}


@pytest.mark.parametrize("job_id", ["nobody", "job_", "%00", "x" * 1000, "job_0'", "名"])
def test_unknown_jobs(ready: Api, job_id: str) -> None:
    for answer in (ready.http.get(f"/v1/jobs/{job_id}"), cancel(ready, job_id)):
        assert code(answer, 404) == "unknown_job"
    assert code(ready.http.get(f"/v1/jobs/{job_id}/events"), 404) == "unknown_job"


# -- following -----------------------------------------------------------------------------------------
def events(api: Api, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The stream to its end."""
    text = api.http.get(f"/v1/jobs/{job_id}/events").text
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def test_events_of_an_ended_job_end(ready: Api) -> None:
    job_id = ready.job().json()["id"]
    cancel(ready, job_id)
    told = events(ready, job_id)
    assert [(event, job["state"]) for event, job in told] == [("state", "queued"), ("state", "cancelled")]
    assert told[-1][1] == ready.http.get(f"/v1/jobs/{job_id}").json()


def test_the_end_of_a_job_that_waits_for_its_next_attempt_is_told(ready: Api) -> None:
    job_id = ready.job().json()["id"]
    ready.state.jobs.end(ready.player.claim(), JobState.QUEUED, progress=Progress())
    later = threading.Timer(0.6, lambda: cancel(ready, job_id))
    later.start()
    told = [job["state"] for _, job in events(ready, job_id)]
    later.join()
    assert told == ["queued", "running", "queued", "cancelled"]


def test_events_tell_every_state_and_progress_and_end_with_the_job(ready: Api) -> None:
    job_id = ready.job().json()["id"]
    heard: list[tuple[str, dict[str, Any]]] = []
    listener = threading.Thread(target=lambda: heard.extend(events(ready, job_id)))
    listener.start()
    pause = 0.6  # over two rounds of the stream
    time.sleep(pause)
    claim = ready.player.claim()
    time.sleep(pause)
    ready.state.jobs.renew(claim, 30, PROGRESS)
    time.sleep(pause)
    cancel(ready, job_id)
    ready.player.end(claim, JobState.CANCELLED)
    listener.join(timeout=10)
    assert not listener.is_alive()
    assert [(event, job["state"]) for event, job in heard] == [
        ("state", "queued"),
        ("state", "running"),
        ("progress", "running"),
        ("state", "cancelled"),
    ]
    assert heard[2][1]["progress"] == PROGRESS.model_dump()


# -- listing -------------------------------------------------------------------------------------------
def listed(api: Api, **params: Any) -> Any:
    return api.http.get("/v1/jobs", params=params)


def test_listed_newest_first_by_dataset_and_state(ready: Api) -> None:
    ready.put("other")
    ready.post(*({"id": str(i), "text": "t", "label": i} for i in range(2)), name="other")
    made = [ready.job(dataset="other" if i % 3 == 0 else "d").json()["id"] for i in range(9)]
    cancel(ready, made[1])
    for limit in (1, 2, 4, 9, 50):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = listed(ready, limit=limit, **cursor).json()
            seen += [job["id"] for job in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == made[::-1], limit
    assert [job["id"] for job in listed(ready, dataset="other").json()["items"]] == [
        made[6],
        made[3],
        made[0],
    ]
    assert [job["id"] for job in listed(ready, state="cancelled").json()["items"]] == [made[1]]
    assert len(listed(ready, state="queued", dataset="d").json()["items"]) == 5
    assert listed(ready, dataset="nobody").json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    "params",
    [{"limit": -1}, {"limit": 0}, {"limit": 5000}, {"state": "lost"}, {"dataset": "x" * 65}],
    ids=repr,
)
def test_lists_that_make_no_sense(ready: Api, params: dict[str, Any]) -> None:
    assert code(listed(ready, **params), 422) == "invalid_request"


@pytest.mark.parametrize(
    "cursor", ["x", "e30", *(encode_cursor(JobsCursor(before=at)) for at in (-1, 2**63, 10**30, 10**400))]
)
def test_broken_cursors(ready: Api, cursor: str) -> None:
    assert code(listed(ready, cursor=cursor), 422) == "invalid_cursor"


def test_a_jobs_record_says_which_request_sent_it(serve: Callable[..., Api]) -> None:
    api = serve(api_keys=("a-key-for-tests",), headers={"Authorization": "Bearer a-key-for-tests"})
    api.put()
    api.post(*({"id": str(i), "text": "t", "label": i % 2} for i in range(4)))
    body = {"dataset": "d", "kind": "score"}
    answer = api.http.post("/v1/jobs", json=body, headers={"X-Request-ID": "of-the-client"})
    claim = api.state.jobs.claim("w", 5.0)
    assert claim is not None
    assert claim.job.id == answer.json()["id"]
    assert (claim.origin.request_id, claim.origin.key_id) == ("of-the-client", "settings")
