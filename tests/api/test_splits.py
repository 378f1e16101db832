"""Split jobs and the rule of a dataset, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts import now
from app.contracts.params import SplitParams
from app.ingest.survey import Survey
from tests.api.asking import Api, code

NONE = {"train": 0, "validation": 0, "test": 0}


def split(api: Api, **params: Any) -> Any:
    return api.job(kind="split", params=params)


def test_a_dataset_without_a_rule(api: Api) -> None:
    assert api.read("/split") == {"rule": None, "splits": NONE, "labels": [], "used_by": None}
    api.post({"id": "1", "text": "t", "label": "x"}, {"id": "2", "text": "t", "split": "test"})
    told = api.read("/split")
    assert told["splits"] == NONE | {"train": 1, "test": 1}
    assert told["labels"] == [
        {"label": "x", "splits": NONE | {"train": 1}},
        {"label": None, "splits": NONE | {"test": 1}},
    ]


def test_a_split_job_needs_neither_model_nor_samples(api: Api) -> None:
    job = split(api, by="stratified").json()
    assert (job["kind"], job["model"]) == ("split", None)
    assert job["params"] == {
        "max_minutes": None,
        "by": "stratified",
        "validation": 0.1,
        "test": 0.1,
        "seed": 0,
        "field": None,
        "keep": [],
    }
    assert split(api, **job["params"]).status_code == 202, "what is shown can be sent again"


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "/params/by"),
        ({"by": "label"}, "/params/by"),
        ({"by": "group", "test": 1}, "/params/test"),
        ({"by": "group", "test": 0.5, "validation": 0.5}, "/params"),
        ({"by": "group", "field": "meta.at"}, "/params"),
        ({"by": "time", "field": "timestamp"}, "/params/field"),
        ({"by": "time", "keep": ["train"]}, "/params/keep/0"),
        ({"by": "time", "seed": -1}, "/params/seed"),
        ({"by": "time", "speed": 1}, "/params/speed"),
    ],
)
def test_params_that_make_no_sense(api: Api, params: dict[str, Any], pointer: str) -> None:
    response = split(api, **params)
    assert code(response, 422) == "invalid_request"
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_splits_in_use_are_not_replaced(api: Api) -> None:
    dataset = api.state.datasets.get("d")
    api.state.splits.mark_used(dataset, "job_1")
    api.state.splits.mark_used(dataset, "job_2")
    response = split(api, by="group")
    assert code(response, 409) == "splits_in_use"
    assert "job_1" in response.json()["detail"]
    assert api.read("/split")["used_by"] == "job_1"


def test_rows_without_a_split_follow_the_rule(api: Api) -> None:
    rule, _ = Survey(SplitParams.model_validate({"by": "group", "test": 0.5})).rule("job_1", now())
    api.state.splits.save_rule(api.state.datasets.get("d"), rule)
    rows = [{"id": f"{i}", "text": "t", "label": "x", "group": f"q{i // 2}"} for i in range(40)]
    api.post(*rows)
    found = {row["id"]: api.read(f"/samples/{row['id']}")["split"] for row in rows}
    assert set(found.values()) == {"train", "validation", "test"}
    assert all(found[f"{i}"] == found[f"{i + 1}"] for i in range(0, 40, 2))
    assert api.post(*rows).json()["unchanged"] == 40
    assert api.post(*(row | {"text": "other"} for row in rows)).json()["updated"] == 40
    assert found == {row["id"]: api.read(f"/samples/{row['id']}")["split"] for row in rows}
    told = api.read("/split")
    assert (told["rule"]["by"], told["rule"]["applied"]) == ("group", False)
    assert told["rule"]["strata"] == [
        {"label": None, "samples": 0, "test_below": 0.5, "validation_below": 0.6}
    ]
    assert api.body("id,text\nnew,t\n", "text/csv").json()["created"] == 1


def test_a_split_of_null_is_refused_as_ever(api: Api) -> None:
    response = api.post({"id": "1", "text": "t", "split": None})
    assert response.json()["errors"][0]["code"] == "invalid_row"
