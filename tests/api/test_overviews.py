"""The list of datasets with details: one request for a whole first page, and never an old number in it."""

from __future__ import annotations

from typing import Any

import lance
import pytest

from app.contracts import JobState
from app.store import job_records
from tests.api.asking import Api


def listed(api: Api) -> dict[str, dict[str, Any]]:
    answer = api.http.get("/v1/datasets", params={"details": "true"})
    assert answer.status_code == 200, answer.text
    return {item["name"]: item["details"] for item in answer.json()["items"]}


def send(api: Api, name: str = "d") -> None:
    api.post(
        *({"id": f"s{i}", "text": "t", "label": i % 2} for i in range(10)),
        {"id": "v", "text": "t", "split": "validation"},
        name=name,
    )


def test_details_only_where_they_are_asked_for(api: Api) -> None:
    (item,) = api.http.get("/v1/datasets").json()["items"]
    assert item["details"] is None


def test_counts_sets_and_the_last_job_of_each(api: Api) -> None:
    api.put("empty")
    send(api)
    api.player.score({f"s{i}": [i + 1.0] for i in range(10)})
    waiting = api.job(kind="clean").json()
    told = listed(api)
    one = api.read()
    assert told["d"] == {
        "samples": 11,
        "labelled": 10,
        "splits": one["splits"],
        "sets": {"core": 5, "edge": 3, "noise": 2, "unscored": 1},
        "last_job": {
            **{name: waiting[name] for name in ("id", "kind", "state", "progress", "created_at")},
            "started_at": None,
            "finished_at": None,
            "error": None,
        },
    }
    assert told["d"]["sets"] == one["sets"]
    assert told["empty"] == {
        "samples": 0,
        "labelled": 0,
        "splits": {"train": 0, "validation": 0, "test": 0},
        "sets": {"core": 0, "edge": 0, "noise": 0, "unscored": 0},
        "last_job": None,
    }


def test_a_job_that_has_ended_says_so(api: Api) -> None:
    send(api)
    api.player.queue()
    api.player.end(api.player.claim(), JobState.CANCELLED)
    last = listed(api)["d"]["last_job"]
    assert last["state"] == "cancelled"
    assert last["finished_at"] >= last["started_at"] >= last["created_at"]


def test_what_has_changed_shows_at_once(api: Api) -> None:
    send(api)
    assert listed(api)["d"]["samples"] == 11
    api.post({"id": "w", "text": "t", "label": 1, "split": "test"})
    api.http.delete("/v1/datasets/d/samples/s0")
    told = listed(api)["d"]
    assert (told["samples"], told["labelled"], told["splits"]["test"]) == (11, 10, 1)
    api.http.delete("/v1/datasets/d")
    assert listed(api) == {}
    api.put("d")
    assert listed(api)["d"]["samples"] == 0, "another dataset of the same name"


def test_an_unchanged_table_is_not_read_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    send(api)
    before = listed(api)
    monkeypatch.delattr(lance.LanceDataset, "to_table")
    assert listed(api) == before


def test_the_job_of_a_namesake_is_not_shown(api: Api) -> None:
    send(api)
    api.player.queue()
    api.http.delete("/v1/datasets/d")
    api.put("d")
    assert listed(api)["d"]["last_job"] is None


def test_jobs_are_looked_for_through_several_calls(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_records, "JOBS_A_CALL", 2)
    send(api)
    send_to_other = api.put("other")
    assert send_to_other.status_code == 201
    first = api.player.queue().id
    for _ in range(3):
        api.player.queue("other")
    assert listed(api)["d"]["last_job"]["id"] == first
    monkeypatch.setattr(job_records, "CALLS_FOR_NEWEST", 1)
    assert listed(api)["d"]["last_job"] is None
