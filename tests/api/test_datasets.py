"""/v1/datasets: made once, described, listed, deleted without a ghost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.asking import Api, code
from tests.playing import LINEAGE


def test_made_once_and_found_again(api: Api) -> None:
    first = api.put("reviews", description="what people say")
    again = api.put("reviews")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert first.json() | {"created_at": ""} == {
        "name": "reviews",
        "task": "classification",
        "labels": None,
        "description": "what people say",
        "settings": first.json()["settings"],
        "created_at": "",
        "samples": 0,
        "splits": {"train": 0, "validation": 0, "test": 0},
        "label_counts": [],
        "sets": {"core": 0, "edge": 0, "noise": 0, "unscored": 0},
        "set_version": None,
        "lineage": None,
    }


def test_an_empty_dataset_has_no_rows_of_any_kind(api: Api) -> None:
    assert api.read("/samples") == {"items": [], "next_cursor": None}
    assert api.read("/sets") == {"items": []}
    for order in ("ordinal", "importance", "-importance"):
        assert api.read("/samples", order=order)["items"] == []


def test_another_task_is_a_conflict(api: Api) -> None:
    assert code(api.put(task="relevance"), 409) == "dataset_exists"
    assert api.read()["task"] == "classification"


def test_a_description_given_later_is_kept_and_one_left_out_changes_nothing(api: Api) -> None:
    api.put(description="one")
    api.put()
    assert api.read()["description"] == "one"


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "0", "x" * 64, "a..b", "CON"])
def test_names_that_are_allowed(api: Api, name: str) -> None:
    assert api.put(name).status_code == 201
    assert api.post({"id": "1", "text": "t"}, name=name).status_code == 200
    assert api.read(name=name)["name"] == name


@pytest.mark.parametrize(
    "name",
    ["-a", ".a", "_a", "x" * 65, "a b", "名", "%2e%2e", "%2e", "a%0a", "a%00", "a%2Fb%0a", "a'b", "%ff"],
)
def test_names_that_are_not(api: Api, name: str) -> None:
    refused = code(api.put(name), 404 if "%2F" in name else 422)
    assert refused == ("unknown_route" if "%2F" in name else "invalid_name")
    assert [item["name"] for item in api.http.get("/v1/datasets").json()["items"]] == ["d"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["nobody", "%00", "%ff%fe", "名", "a'; --", "x" * 500])
def test_unknown_names(api: Api, method: str, name: str) -> None:
    assert code(api.http.request(method, f"/v1/datasets/{name}"), 404) == "unknown_dataset"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"task": "regression"},
        {"task": None},
        {"task": 1},
        {"task": "classification", "label": ["a", "b"]},
        {"task": "classification", "labels": ["a"]},
        {"task": "classification", "labels": []},
        {"task": "classification", "labels": "ab"},
        {"task": "classification", "labels": [True, False]},
        {"task": "classification", "labels": [None, "a"]},
        {"task": "classification", "labels": [["a"], "b"]},
        {"task": "classification", "description": 7},
        {"task": "classification", "description": "x" * 5000},
        [],
        "classification",
        None,
    ],
    ids=repr,
)
def test_bodies_that_are_not_a_dataset(api: Api, body: Any) -> None:
    assert code(api.http.put("/v1/datasets/new", json=body), 422) == "invalid_request"
    assert code(api.get(name="new"), 404) == "unknown_dataset"


@pytest.mark.parametrize(
    "labels",
    [
        '["a", "a"]',
        '[1, "1"]',
        "[1, 1.0]",
        "[0.0, -0.0]",
        '["", "a"]',
        f'["{"x" * 257}", "a"]',
        f"[{10**18}, 1]",
        f"[{10**400}, 1]",
        "[1e400, 1]",
        "[NaN, 1]",
    ],
)
def test_labels_that_name_no_classes(api: Api, labels: str) -> None:
    body = f'{{"task": "classification", "labels": {labels}}}'
    response = api.http.put("/v1/datasets/new", content=body, headers={"Content-Type": "application/json"})
    assert code(response, 422) == "invalid_label"
    assert code(api.get(name="new"), 404) == "unknown_dataset"


@pytest.mark.parametrize("labels", [["no", "yes"], [-1, 2], [0, 1.5, "2"]])
def test_relevance_labels_are_grades(api: Api, labels: list[Any]) -> None:
    assert code(api.put("new", task="relevance", labels=labels), 422) == "invalid_label"
    assert api.put("new", task="relevance", labels=[0, 1.5]).status_code == 201


def test_labels_are_fixed_once_in_their_order(api: Api) -> None:
    assert api.put("l", labels=["b", "a", 3]).json()["labels"] == ["b", "a", 3]
    assert api.put("l", labels=["b", "a", 3.0]).status_code == 200
    assert code(api.put("l", labels=["a", "b", 3]), 409) == "dataset_exists"
    assert api.read(name="l")["labels"] == ["b", "a", 3]


def test_labels_given_later_must_name_those_in_use(api: Api) -> None:
    api.post({"id": "1", "text": "t", "label": "a"}, {"id": "2", "text": "t", "label": "c"})
    assert code(api.put(labels=["a", "b"]), 409) == "unknown_label"
    assert api.read()["labels"] is None
    assert api.put(labels=["c", "b", "a"]).json()["labels"] == ["c", "b", "a"]
    refused = api.post({"id": "3", "text": "t", "label": "z"})
    assert refused.json()["errors"][0]["code"] == "unknown_label"


def test_counts_by_split_and_by_class_whichever_way_it_is_sent(api: Api) -> None:
    api.post(
        {"id": "1", "text": "t", "label": 1},
        {"id": "2", "text": "t", "label": "1"},
        {"id": "3", "text": "t", "label": 1.0, "split": "test"},
        {"id": "4", "text": "t", "label": 0.5, "split": "validation"},
        {"id": "5", "text": "t", "label": "b"},
        {"id": "6", "text": "t"},
        {"id": "7", "text": "t", "label": 10},
    )
    held = api.read()
    assert held["samples"] == 7
    assert held["splits"] == {"train": 5, "validation": 1, "test": 1}
    assert held["label_counts"] == [
        {"label": 0.5, "samples": 1},
        {"label": 1, "samples": 3},
        {"label": 10, "samples": 1},
        {"label": "b", "samples": 1},
        {"label": None, "samples": 1},
    ]
    assert held["sets"]["unscored"] == 7


def test_listed_by_name(api: Api) -> None:
    for name in ("b", "a", "B"):
        api.put(name)
    items = api.http.get("/v1/datasets").json()["items"]
    assert [item["name"] for item in items] == ["B", "a", "b", "d"]
    assert all(item["set_version"] is None for item in items)


def test_deleting_leaves_no_ghost_under_the_same_name(api: Api) -> None:
    api.post(*({"id": f"s{i}", "text": "t", "label": i % 2} for i in range(6)))
    api.player.score({f"s{i}": [i + 1.0] for i in range(6)})
    waiting = api.job().json()["id"]
    assert api.http.delete("/v1/datasets/d").status_code == 204
    assert code(api.get(), 404) == "unknown_dataset"
    assert code(api.get("/scores/s1"), 404) == "unknown_dataset"
    assert code(api.http.delete("/v1/datasets/d"), 404) == "unknown_dataset"
    assert api.http.get(f"/v1/jobs/{waiting}").json()["state"] == "cancelled"
    assert api.player.state.jobs.claim("w", 5) is None

    assert api.put().status_code == 201
    fresh = api.read()
    assert (fresh["samples"], fresh["lineage"], fresh["set_version"]) == (0, None, None)
    assert api.read("/sets") == {"items": []}
    assert api.http.post("/v1/datasets/d/scores/lookup", json={"ids": ["s1"]}).json() == {"scores": [None]}
    api.post({"id": "s1", "text": "t", "label": 1})
    assert api.read("/scores/s1")["visits"] == 0
    assert code(api.get("/sets/core"), 404) == "no_sets_yet"


def test_deleting_leaves_no_keys_and_no_files(api: Api, tmp_path: Path) -> None:
    dataset = api.player.dataset([{"id": f"s{i}", "text": "t", "label": i % 2} for i in range(4)])
    api.player.score({f"s{i}": [1.0] for i in range(4)})
    held = f"{api.state.keys.dataset(dataset.uid).base}:*"
    assert len(list(api.state.client.scan_iter(match=held))) > 5
    api.http.delete("/v1/datasets/d")
    assert list(api.state.client.scan_iter(match=held)) == []
    assert list((tmp_path / "datasets").iterdir()) == []


def test_makers_at_once_make_one(api: Api, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(lambda _: api.put("raced"), range(6)))
    assert statuses == [200] * 5 + [201]
    assert api.post({"id": "1", "text": "t"}, name="raced").status_code == 200
    assert api.read(name="raced")["samples"] == 1
    assert len(list((tmp_path / "datasets").iterdir())) == 2, "a loser's table was left behind"


def test_readers_and_writers_of_a_dataset_that_is_deleted_meet_no_internal_error(api: Api) -> None:
    """Every answer is about the dataset: there, gone, or busy. `check_answer` refuses a 500."""

    def use(turn: int) -> set[int]:
        rows = [{"id": f"s{turn}-{i}", "text": "t", "label": i % 2} for i in range(3)]
        answers = [
            api.post(*rows),
            api.get(),
            api.get("/samples", order="importance"),
            api.get("/samples/s1-1"),
        ]
        return {answer.status_code for answer in answers}

    def remake(_: int) -> set[int]:
        return {api.http.delete("/v1/datasets/d").status_code, api.put().status_code}

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(remake if turn % 4 == 0 else use, turn) for turn in range(40)]
        seen = set().union(*(job.result() for job in jobs))
    assert seen <= {200, 201, 204, 404, 409}


def test_lineages(api: Api) -> None:
    assert api.read("/lineages") == {"items": []}
    api.post({"id": "1", "text": "t", "label": 1})
    api.player.score({"1": [1.0]})
    dataset = api.state.datasets.get("d")
    held = api.state.datasets.lineage(dataset, LINEAGE)
    assert held is not None
    api.state.archive.of_dataset(dataset).save_lineage(held)
    (lineage,) = api.read("/lineages")["items"]
    assert lineage["active"] is True
    assert (lineage["model"], lineage["revision"], lineage["runs"]) == ("demo", "r1", [])
    assert code(api.get("/lineages", name="nobody"), 404) == "unknown_dataset"
