"""Verdicts as files; to Label Studio and back, where the second time changes nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from app.services import review_import, review_queue, verdict_export
from tests.api.asking import Api, code
from tests.api.test_reviews import give, history, in_force, label, undo, visits
from tests.reviewing import publish

if TYPE_CHECKING:
    from httpx import Response

LABELS = ["good", 'bad & <"ugly">', "5", "\ttab\x01"]
IDS = [f"s{i}" for i in range(8)]
Q = [0.01, 0.95, 0.5, 0.9, 0.45, 0.99, 0.02, 0.7]
LATER = "2999-01-01T00:00:00Z"


@pytest.fixture
def full(api: Api) -> Api:
    """Eight samples of a set version: s1, s3, s5 and s7 are noise, and seem to be of the next label."""
    api.put("d", labels=LABELS)
    api.post(
        *(
            {
                "id": i,
                "text": f"<b>text {i}</b>",
                "text_pair": "p" if n == 1 else None,
                "label": LABELS[n % 2],
            }
            for n, i in enumerate(IDS)
        ),
        {"id": "u", "text": "unlabelled"},
    )
    publish(api.state, IDS, Q, [-1, 2, 2, 3, 2, 0, 2, 2])
    return api


def tasks(api: Api, path: str = "/review-queue/export", **params: Any) -> list[dict[str, Any]]:
    response = api.get(path, format="label-studio", **params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-disposition"].endswith('.json"')
    found: list[dict[str, Any]] = response.json()
    return found


def choices(api: Api) -> list[str]:
    """As Label Studio would read them."""
    response = api.get("/label-studio/config")
    assert response.headers["content-type"].startswith("application/xml")
    view = ET.fromstring(response.content)
    (chosen,) = view.findall("Choices")
    assert (chosen.get("name"), chosen.get("toName")) == ("label", "text")
    assert view.findall("Text")[0].get("value") == "$text"
    return [str(choice.get("value")) for choice in chosen]


def annotated(task: dict[str, Any], choice: str, at: str | None = LATER, **more: Any) -> dict[str, Any]:
    """What an annotator makes of a task."""
    result = {
        "value": {"choices": [choice]},
        "id": "Dx_aB91ISN",
        "from_name": "label",
        "to_name": "text",
        "type": "choices",
        "origin": "manual",
    }
    one = {"id": 1001, "completed_by": 10, "result": [result], "was_cancelled": False, "lead_time": 4.2}
    times = {} if at is None else {"created_at": at, "updated_at": at}
    return {"id": 1, **task, "annotations": [one | times | more], "drafts": [], "meta": {}, "project": 83}


def send(api: Api, rows: Any) -> Response:
    return api.http.post("/v1/datasets/d/reviews/import", json=rows)


def imported(api: Api, rows: Any, status: int = 200) -> dict[str, Any]:
    response = send(api, rows)
    assert response.status_code == status, response.text
    told: dict[str, Any] = response.json()
    return told


def of(sample_id: str) -> dict[str, Any]:
    return {"data": {"id": sample_id}}


# -- verdicts as files -----------------------------------------------------------------------------------
@pytest.fixture
def reviewed(full: Api) -> Api:
    give(full, "s0", "correct")
    give(full, "s1", "wrong", label="good")
    give(full, "s2", "unsure")
    give(full, "s3", "wrong")
    give(full, "s4", "correct")
    undo(full, "s4")
    give(full, "s5", "correct")
    full.post({"id": "s5", "text": "another text", "label": "good"})
    give(full, "s6", "correct")
    full.http.delete("/v1/datasets/d/samples/s6")
    return full


def test_the_verdicts_in_force_as_lines(reviewed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_export, "ROWS_A_CALL", 2)
    response = reviewed.get("/reviews/export")
    assert response.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [(row["id"], row["verdict"], row["label"], row["new_label"]) for row in rows] == [
        ("s0", "correct", LABELS[0], None),
        ("s1", "wrong", LABELS[1], "good"),
        ("s2", "unsure", LABELS[0], None),
        ("s3", "wrong", LABELS[1], None),
    ]
    for row in rows:
        held = reviewed.read(f"/samples/{row['id']}/review")["in_force"]
        assert row == {name: held[name] for name in row}


def test_the_same_as_csv(reviewed: Api) -> None:
    response = reviewed.get("/reviews/export", format="csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["id"], row["verdict"], row["label"], row["new_label"]) for row in rows] == [
        ("s0", "correct", LABELS[0], ""),
        ("s1", "wrong", LABELS[1], "good"),
        ("s2", "unsure", LABELS[0], ""),
        ("s3", "wrong", LABELS[1], ""),
    ]


def test_the_same_as_annotated_tasks(reviewed: Api) -> None:
    found = {task["data"]["id"]: task for task in tasks(reviewed, "/reviews/export")}
    told = {
        i: [
            (one["was_cancelled"], [r["value"]["choices"] for r in one["result"]])
            for one in task["annotations"]
        ]
        for i, task in found.items()
    }
    assert told == {
        "s0": [(False, [[LABELS[0]]])],
        "s1": [(False, [["good"]])],
        "s2": [(True, [])],
        "s3": [],
    }
    assert found["s0"]["data"]["text"] == "<b>text s0</b>"


def test_nothing_reviewed_is_an_empty_file(full: Api) -> None:
    assert full.get("/reviews/export").text == ""
    assert tasks(full, "/reviews/export") == []
    assert code(full.get("/reviews/export", format="xml"), 422) == "invalid_request"


# -- to Label Studio -------------------------------------------------------------------------------------
def test_the_configuration_has_every_label_escaped(full: Api) -> None:
    assert choices(full) == ["good", 'bad & <"ugly">', "5", "\ttab\ufffd"]


def test_open_labels_are_those_in_use(api: Api) -> None:
    api.post(
        {"id": "a", "text": "t", "label": 10}, {"id": "b", "text": "t", "label": 9}, {"id": "c", "text": "t"}
    )
    assert choices(api) == ["9", "10"]
    assert b"text_pair" not in api.get("/label-studio/config").content


def test_the_queue_as_tasks_with_predictions(full: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_queue, "ROWS_A_CALL", 3)
    found = tasks(full)
    assert [task["data"]["id"] for task in found] == [
        item["id"] for item in full.read("/review-queue", limit=100)["items"]
    ]
    by_id = {task["data"]["id"]: task for task in found}
    assert by_id["s1"] == {
        "data": {
            "id": "s1",
            "text": "<b>text s1</b>",
            "text_pair": "p",
            "label": LABELS[1],
            "suggested": "5",
        },
        "predictions": [
            {
                "model_version": "gradsift sets 1",
                "score": pytest.approx(0.95, abs=1e-3),
                "result": [
                    {
                        "id": "label",
                        "type": "choices",
                        "from_name": "label",
                        "to_name": "text",
                        "value": {"choices": ["5"]},
                    }
                ],
            }
        ],
    }
    assert by_id["s0"]["predictions"] == []
    assert by_id["s0"]["data"]["suggested"] == ""
    assert by_id["s3"]["predictions"][0]["result"][0]["value"]["choices"] == ["\ttab\ufffd"]
    told = {
        choice
        for task in found
        for one in task["predictions"]
        for choice in one["result"][0]["value"]["choices"]
    }
    assert told <= set(choices(full)), "a prediction names choices of the configuration"
    assert b"text_pair" in full.get("/label-studio/config").content


def test_a_part_of_the_queue(full: Api) -> None:
    assert [task["data"]["id"] for task in tasks(full, limit=3)] == [
        item["id"] for item in full.read("/review-queue", limit=3)["items"]
    ]
    noise = [task["data"]["id"] for task in tasks(full, set="noise")]
    assert sorted(noise) == ["s1", "s3", "s5", "s7"]
    give(full, noise[0], "correct")
    assert {task["data"]["id"] for task in tasks(full, set="noise")} == set(noise[1:])
    assert tasks(full, set="core") == []
    full.put("new")
    assert code(full.get("/review-queue/export", "new"), 404) == "no_sets_yet"


# -- and back --------------------------------------------------------------------------------------------
def test_a_round_trip(full: Api) -> None:
    """Every task is annotated: those of the noise set get the suggested label, the others keep theirs."""
    noise = {"s1", "s3", "s5", "s7"}
    done = [
        annotated(task, task["data"]["suggested" if task["data"]["id"] in noise else "label"])
        for task in tasks(full)
    ]
    told = imported(full, done)
    assert told == {
        "received": 8,
        "correct": 4,
        "wrong": 4,
        "unchanged": 0,
        "skipped": 0,
        "rejected_total": 0,
        "rejected": [],
    }
    assert {i: label(full, i) for i in noise} == {"s1": "5", "s3": "\ttab\x01", "s5": "good", "s7": "5"}
    assert in_force(full, "s1") == ("wrong", LABELS[1], "5")
    assert in_force(full, "s0") == ("correct", LABELS[0], None)
    assert visits(full, "s1") == 0
    assert tasks(full) == [], "nothing is left to review"

    again = imported(full, done)
    assert (again["unchanged"], again["correct"], again["wrong"]) == (8, 0, 0)
    assert history(full, "s1") == ["wrong"]
    assert history(full, "s0") == ["correct"]
    returned = tasks(full, "/reviews/export")
    assert imported(full, returned)["unchanged"] == 8, "what the service exports itself is known to it"


def test_in_several_writes(full: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_import, "ROWS_A_WRITE", 3)
    told = imported(full, [annotated(of(i), "5") for i in IDS])
    assert told["wrong"] == 8
    assert {label(full, i) for i in IDS} == {"5"}
    assert [one["sequence"] for one in full.read("/reviews")["items"]] == list(range(1, 9))


@pytest.mark.parametrize("at", [LATER, None, "2020-01-01T00:00:00", "2020-01-01T00:00:00.5+02:00"])
def test_the_same_file_twice_is_once_whatever_its_clock_says(full: Api, at: str | None) -> None:
    rows = [annotated(of("s0"), "5", at), annotated(of("s1"), LABELS[1], at)]
    assert imported(full, rows).items() >= {"wrong": 1, "correct": 1}.items()
    assert imported(full, rows)["unchanged"] == 2
    assert (history(full, "s0"), history(full, "s1")) == (["wrong"], ["correct"])


def test_an_annotation_that_is_older_than_a_review_changes_nothing(full: Api) -> None:
    rows = [annotated(of("s0"), "5", "2020-01-01T00:00:00Z")]
    assert imported(full, rows)["wrong"] == 1
    undo(full, "s0")
    assert imported(full, rows)["unchanged"] == 1, "what was taken back stays so"
    assert label(full, "s0") == LABELS[0]
    assert imported(full, [annotated(of("s0"), "5", LATER)])["wrong"] == 1, "a later one counts"


def test_the_last_annotation_counts(full: Api) -> None:
    first = annotated(of("s0"), "5", "2024-01-01T00:00:00Z")["annotations"]
    last = annotated(of("s0"), "good", "2024-01-02T00:00:00Z")["annotations"]
    skipped = annotated(of("s0"), "5", "2024-01-03T00:00:00Z", was_cancelled=True)["annotations"]
    told = imported(full, [of("s0") | {"annotations": last + first + skipped}])
    assert (told["correct"], told["skipped"]) == (1, 0)
    assert in_force(full, "s0") == ("correct", LABELS[0], None)
    twice = [of("s2") | {"annotations": last}, of("s2") | {"annotations": first}]
    assert imported(full, twice).items() >= {"correct": 1, "wrong": 0, "skipped": 1}.items()
    assert label(full, "s2") == "good"


def test_tasks_that_nobody_has_annotated_are_skipped(full: Api) -> None:
    cancelled = annotated(of("s1"), "5", was_cancelled=True)
    empty = of("s2") | {"annotations": [{"result": []}]}
    told = imported(full, [*tasks(full), cancelled, empty])
    assert (told["received"], told["skipped"]) == (10, 10)
    assert full.read("/reviews")["items"] == []


def test_bad_rows_do_not_hold_the_others_up(full: Api) -> None:
    other_name = annotated(of("s3"), "5")
    other_name["annotations"][0]["result"][0]["from_name"] = "sentiment"
    two = annotated(of("s4"), "5")
    two["annotations"][0]["result"][0]["value"]["choices"] = ["5", "good"]
    rows = [
        annotated(of("s0"), "good"),
        annotated(of("nobody"), "5"),
        annotated(of("s1"), "no such label"),
        other_name,
        two,
        annotated({"data": {"text": "t"}}, "5"),
        {"data": []},
        "text",
        annotated(of("u"), "5"),
        of("s5")
        | {"annotations": [{"result": [{"type": "choices", "from_name": "label", "value": {"choices": 5}}]}]},
    ]
    told = imported(full, rows, 207)
    assert told["correct"] == 1
    assert [(row["index"], row["id"], row["code"]) for row in told["rejected"]] == [
        (1, "nobody", "unknown_sample"),
        (2, "s1", "unknown_label"),
        (3, "s3", "invalid_row"),
        (4, "s4", "invalid_row"),
        (5, None, "missing_field"),
        (6, None, "invalid_row"),
        (7, None, "invalid_row"),
        (8, "u", "no_label"),
        (9, "s5", "invalid_row"),
    ]


def test_bodies_that_are_no_export(full: Api) -> None:
    assert code(send(full, {"tasks": []}), 422) == "invalid_request"
    assert code(send(full, [annotated(of("nobody"), "5")]), 422) == "all_rows_rejected"
    refused = full.http.post("/v1/datasets/d/reviews/import", content=b"[{]")
    assert code(refused, 400) == "invalid_json"
    deep = full.http.post("/v1/datasets/d/reviews/import", content=b"[" * 100_000)
    assert deep.status_code in (400, 422)
    assert imported(full, [])["received"] == 0
    assert code(full.http.post("/v1/datasets/nobody/reviews/import", json=[]), 404) == "unknown_dataset"


def test_open_labels_keep_their_type(api: Api) -> None:
    api.post({"id": "a", "text": "t", "label": 1}, {"id": "b", "text": "t", "label": 2})
    assert imported(api, [annotated(of("a"), "2")])["wrong"] == 1
    assert label(api, "a") == 2
