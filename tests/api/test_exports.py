"""Exports of a set: each format parses back to the same members."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.services.sets import EXPORT_ROWS
from tests.api.asking import Api, code

ODD = "two\nlines, \"quoted\" 's' 长裙 =1+1"


@pytest.fixture
def scored(api: Api) -> Api:
    api.post(
        {"id": 'a,"b', "text": ODD, "text_pair": "p", "label": "x"},
        {"id": "c", "text": "plain", "label": 0.5},
        {"id": "e", "text": "third", "label": 1},
        {"id": "f", "text": "fourth"},
    )
    api.player.score(
        {'a,"b': [4.0, 2.0], "c": [2.5], "e": [2.0], "f": [1.0]}, core_fraction=0.75, noise_fraction=0.25
    )
    return api


def exported(api: Api, format_: str, name: str = "core", **params: Any) -> list[dict[str, Any]]:
    response = api.get(f"/sets/{name}/export", format=format_, **params)
    assert response.status_code == 200
    filename = response.headers["content-disposition"]
    assert filename.startswith(f'attachment; filename="d-{name}-v')
    assert filename.endswith(f'.{format_}"')
    if format_ == "ndjson":
        return [json.loads(line) for line in response.text.split("\n")[:-1]]
    if format_ == "parquet":
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(response.content)).to_pylist()
        return rows
    assert response.text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


def test_ids_in_the_order_of_the_pages(scored: Api) -> None:
    walked = scored.walk("/sets/core")
    assert walked == ['a,"b', "c", "e"]
    for format_ in ("ndjson", "csv", "parquet"):
        assert [row["id"] for row in exported(scored, format_)] == walked
    assert exported(scored, "ndjson")[0] == {
        "id": 'a,"b',
        "importance": 3.0,
        "noise_probability": None,
        "reason": "important",
    }


def test_the_formats_agree_on_everything(scored: Api) -> None:
    asked = {"include": "text,label,score"}
    lines, cells, table = (exported(scored, format_, **asked) for format_ in ("ndjson", "csv", "parquet"))
    assert cells[0].keys() == table[0].keys() > {"visits", "grad_norm_std", "percentile", "text_pair"}
    for line, row, record in zip(lines, cells, table, strict=True):
        assert line["text"] == row["text"] == record["text"]
        assert line["importance"] == float(row["importance"]) == record["importance"]
        assert str(line["label"]) == row["label"] == record["label"]
        assert line["score"]["visits"] == int(row["visits"]) == record["visits"]
        assert line["score"]["percentile"] == float(row["percentile"]) == record["percentile"]
        assert (
            line["score"]["signals"]["grad_norm"]["std"]
            == float(row["grad_norm_std"])
            == record["grad_norm_std"]
        )
        assert (line["score"]["noise_probability"], row["noise_probability"]) == (None, "")
        assert line["score"] == scored.read(f"/scores/{line['id']}".replace('"', "%22"))
    assert (lines[0]["text"], lines[0]["text_pair"], lines[1]["label"], lines[2]["label"]) == (
        ODD,
        "p",
        0.5,
        1,
    )


def test_columns_are_only_those_asked_for(scored: Api) -> None:
    assert exported(scored, "csv", include="label")[0].keys() == {
        "id",
        "importance",
        "noise_probability",
        "reason",
        "label",
    }
    assert exported(scored, "ndjson", include=" text , ")[0].keys() >= {"text", "text_pair"}


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet"])
def test_an_empty_set_is_a_file_without_rows(scored: Api, format_: str) -> None:
    assert exported(scored, format_, "edge", include="text,score") == []


@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet"])
def test_more_members_than_one_batch(api: Api, format_: str) -> None:
    count = EXPORT_ROWS + 7
    norms = {f"s{i:05}": [float(count - i)] for i in range(count)}
    api.post(*({"id": sample_id, "text": f"text of {sample_id}"} for sample_id in norms))
    api.player.score(norms, core_fraction=1.0, noise_fraction=0.0)
    rows = exported(api, format_, include="text")
    assert [(row["id"], row["text"]) for row in rows] == [(i, f"text of {i}") for i in norms]


def test_an_old_version_is_exported_as_it_was(scored: Api) -> None:
    scored.player.score({"c": [9.0]}, core_fraction=1.0, noise_fraction=0.0)
    assert [row["id"] for row in exported(scored, "csv")] == ["c"]
    assert [row["id"] for row in exported(scored, "csv", version=1)] == ['a,"b', "c", "e"]


@pytest.mark.parametrize(
    "params", [{"format": "xlsx"}, {"include": "text,secret"}, {"include": "id"}, {"version": -1}]
)
def test_exports_that_cannot_be(scored: Api, params: dict[str, Any]) -> None:
    assert code(scored.get("/sets/core/export", **params), 422) == "invalid_request"
