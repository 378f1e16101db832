"""The whole product over HTTP: samples in, a job by a real worker, core, edge and noise out."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.e2e.service import Service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
FAST = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "max_length": 16}


def reviews(count: int, prefix: str = "r") -> list[dict[str, Any]]:
    texts = ("lovely soft dress", "awful rough coat", "good fit, very wearable", "bad size, return it")
    return [
        {"id": f"{prefix}{i:04}", "text": f"{texts[i % 4]} {i}", "label": "good" if i % 2 == 0 else "bad"}
        for i in range(count)
    ]


def test_from_samples_to_sets(service: Service) -> None:
    rows = reviews(60)
    service.create("reviews", rows)
    job = service.wait(service.score("reviews", policy="seed", core_fraction=0.5, noise_fraction=0.2, **FAST))
    assert job["state"] == "succeeded", job
    assert job["attempt"] == 1
    assert job["params"]["learning_rate"] == 5e-5
    assert job["progress"]["fraction"] == 1.0
    held = service.http.get("/v1/datasets/reviews").json()
    assert held["sets"] == {"core": 30, "edge": 18, "noise": 12, "unscored": 0}
    assert held["labels"] == ["bad", "good"]
    scores = {score["id"]: score for score in service.scores("reviews", [row["id"] for row in rows])}
    seen: list[str] = []
    for name in ("core", "edge", "noise"):
        members = list(service.walk("reviews", name))
        assert len(members) == held["sets"][name]
        for item in members:
            assert scores[item["id"]]["set"] == name
            assert item["importance"] == pytest.approx(scores[item["id"]]["importance"], rel=1e-6)
            url = f"/v1/datasets/reviews/sets/{name}/{item['id']}"
            assert service.http.get(url).json()["member"] is True
        seen += [item["id"] for item in members]
    assert sorted(seen) == sorted(scores)
    assert {score["visits"] for score in scores.values()} == {2}
    one = service.http.get("/v1/datasets/reviews/samples/r0000").json()
    assert one["score"] == service.http.get("/v1/datasets/reviews/scores/r0000").json()
    assert one["membership"]["set"] == one["score"]["set"]


def test_exports_hold_the_whole_set(service: Service) -> None:
    members = [item["id"] for item in service.walk("reviews", "core")]
    url = "/v1/datasets/reviews/sets/core/export"
    texts = service.http.get(url, params={"format": "ndjson", "include": "text,label,score"}).text
    rows = [json.loads(line) for line in texts.splitlines()]
    assert [row["id"] for row in rows] == members
    assert all(
        row["text"] and row["label"] in ("good", "bad") and row["score"]["visits"] == 2 for row in rows
    )
    table = list(csv.DictReader(io.StringIO(service.http.get(url, params={"format": "csv"}).text)))
    assert [row["id"] for row in table] == members
    parquet = service.http.get(url, params={"format": "parquet", "include": "label,score"}).content
    assert pq.read_table(io.BytesIO(parquet))["id"].to_pylist() == members


def test_events_tell_a_job_from_start_to_end(service: Service) -> None:
    job_id = service.score("reviews", **FAST)
    states: list[str] = []
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events", timeout=60) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data: "):
                state = json.loads(line.removeprefix("data: "))["state"]
                if not states or states[-1] != state:
                    states.append(state)
    assert states == ["queued", "running", "succeeded"]


def test_cancel_stops_a_running_job(service: Service) -> None:
    job_id = service.score("reviews", **(FAST | {"num_train_epochs": 1000}))
    while service.job(job_id)["progress"]["step"] < 3:
        pass
    assert service.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    job = service.wait(job_id, seconds=10)
    assert job["state"] == "cancelled"
    assert job["finished_at"] is not None


@pytest.mark.parametrize(
    ("name", "task", "rows"),
    [
        ("intents", "classification",
         [{"id": f"i{i}", "text": f"question {i}", "label": f"intent {i % 77}"} for i in range(154)]),
        ("chinese", "classification",
         [{"id": f"评论{i}", "text": ("太差了", "质量很好")[i % 2], "label": i % 2} for i in range(20)]),
        ("pairs", "relevance",
         [{"id": f"p{i}", "text": f"query {i // 4}", "text_pair": f"item {i}", "label": i % 4,
           "group": f"q{i // 4}"} for i in range(24)]),
        ("singles", "classification",
         [{"id": f"s{i}", "text": f"text {i}", "label": str(i)} for i in range(6)]),
    ],
)  # fmt: skip
def test_data_of_other_shapes(service: Service, name: str, task: str, rows: list[dict[str, Any]]) -> None:
    service.create(name, rows, task)
    job = service.wait(service.score(name, **FAST))
    assert job["state"] == "succeeded", job
    sizes = service.http.get(f"/v1/datasets/{name}").json()["sets"]
    assert sizes["core"] + sizes["edge"] + sizes["noise"] == len(rows)
    walked = [item["id"] for part in ("core", "edge", "noise") for item in service.walk(name, part)]
    assert sorted(walked) == sorted(row["id"] for row in rows)
    assert {score["visits"] for score in service.scores(name, walked)} == {2}


def test_a_worker_killed_in_the_middle_of_a_job_costs_nothing(service: Service) -> None:
    rows = reviews(300, "k")
    service.create("killed", rows)
    job_id = service.score("killed", **(FAST | {"num_train_epochs": 40}))
    service.wait(job_id, until="half")
    worker = service.worker()
    for process in [*worker.children(recursive=True), worker]:
        process.kill()
    job = service.wait(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2), job
    assert {score["visits"] for score in service.scores("killed", [row["id"] for row in rows])} == {40}


def test_kill_9_of_the_worker_leaves_the_mean_gradients_of_an_undisturbed_job(service: Service) -> None:
    params = FAST | {"num_train_epochs": 20, "response": "vector", "projection_dim": 32}
    tables = []
    for name in ("calm", "disturbed"):
        service.create(name, reviews(200, "v"))
        job_id = service.score(name, **params)
        if name == "disturbed":
            service.wait(job_id, until="half")
            worker = service.worker()
            for process in [*worker.children(recursive=True), worker]:
                process.kill()
        job = service.wait(job_id)
        assert (job["state"], job["attempt"]) == ("succeeded", 1 + (name == "disturbed")), job
        tables.append(pq.read_table(service.data_dir / job["result"]["response"]["artifact"]))
    assert set(tables[0]["visits"].to_pylist()) == {20}
    assert tables[0].equals(tables[1])


def test_a_second_up_on_the_same_directory_says_so(service: Service) -> None:
    second = Service(service.data_dir, service.data_dir.parent / "second.log")
    with pytest.raises(AssertionError, match="already_running"):
        second.start()
    assert second.process is not None
    assert second.process.returncode not in (0, None)


def test_after_kill_9_of_everything_all_is_there(service: Service) -> None:
    rows = reviews(300, "z")
    service.create("later", rows)
    before = service.http.get("/v1/datasets/reviews").json()
    scores = service.scores("reviews", ["r0000", "r0001"])
    job_id = service.score("later", **(FAST | {"num_train_epochs": 40}))
    service.wait(job_id, until="half")
    service.kill_everything()
    service.start()
    job = service.wait(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 2), job
    assert {score["visits"] for score in service.scores("later", [row["id"] for row in rows])} == {40}
    assert service.http.get("/v1/datasets/reviews").json() == before
    assert service.scores("reviews", ["r0000", "r0001"]) == scores


def test_ctrl_c_in_the_middle_of_a_job_and_up_again(service: Service) -> None:
    job_id = service.score("later", **(FAST | {"num_train_epochs": 40, "fresh": True}))
    service.wait(job_id, until="half")
    assert service.stop() == 0
    with pytest.raises(httpx.ConnectError):
        service.http.get("/healthz")
    service.start()
    job = service.wait(job_id)
    assert job["state"] == "succeeded", job
    scores = service.scores("later", [f"z{i:04}" for i in range(300)])
    assert {score["visits"] for score in scores} == {40}
    assert service.stop() == 0
