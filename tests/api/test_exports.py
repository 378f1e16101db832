"""Exports of a set: each format parses back to the same members."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from urllib.parse import quote

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


STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@pytest.fixture
def formulas(api: Api) -> Api:
    """Texts, pairs and ids that a spreadsheet would run, and labels that only look so."""
    rows = [
        {
            "id": f"{start}{i}" if start.isprintable() else f"x{i}",
            "text": f"{start}cmd|' /C calc'!A0",
            "label": -1.5,
        }
        for i, start in enumerate(STARTS)
    ]
    rows += [
        {"id": "p", "text": "1-1=0", "text_pair": "=1+1", "label": "-1.5"},
        {"id": "q", "text": "plain", "label": "=2"},
    ]
    api.post(*rows)
    api.player.score(
        {str(row["id"]): [float(99 - i)] for i, row in enumerate(rows)}, core_fraction=1.0, noise_fraction=0.0
    )
    return api


def test_a_spreadsheet_runs_nothing_of_a_csv(formulas: Api) -> None:
    rows = exported(formulas, "csv", include="text,label,score")
    assert len(rows) > len(STARTS)
    for row in rows:
        assert all(row[name][:1] not in STARTS for name in ("id", "text", "text_pair", "reason", "lineage"))
    by_id = {row["id"]: row for row in rows}
    assert by_id["'=0"]["text"] == "'=cmd|' /C calc'!A0"
    assert [by_id[sample_id]["label"] for sample_id in ("'=0", "q")] == ["-1.5", "'=2"], "numbers are none"
    assert by_id["p"]["text"] == "1-1=0"
    assert all(float(row["importance"]) > 0 for row in rows)


def test_formulas_are_kept_where_that_is_asked_for_and_in_other_formats(formulas: Api) -> None:
    lines = exported(formulas, "ndjson", include="text,label")
    kept = exported(formulas, "csv", include="text,label", formulas="keep")
    for format_rows in (kept, exported(formulas, "parquet", include="text,label")):
        assert [(row["id"], row["text"]) for row in format_rows] == [
            (one["id"], one["text"]) for one in lines
        ]
    assert lines[0]["text"].startswith("=")
    assert code(formulas.get("/sets/core/export", format="csv", formulas="run"), 422) == "invalid_request"


def test_our_own_csv_comes_back_as_it_was(formulas: Api) -> None:
    """With formulas kept; the others would come back as other ids."""
    before = exported(formulas, "ndjson", include="text,label")
    answer = formulas.get("/sets/core/export", format="csv", include="text,label", formulas="keep")
    columns = [("meta", ""), ("column", "id:id")]
    sent = formulas.http.post(
        "/v1/datasets/d/samples", params=columns, content=answer.content, headers={"Content-Type": "text/csv"}
    )
    assert sent.json()["rejected"] == [], sent.text
    assert sent.json()["created"] == 0
    for one in before:
        assert formulas.read(f"/samples/{quote(one['id'])}")["text"] == one["text"]
