"""POST samples: Parquet, packed bodies, columns of other names, and files made to hurt."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.kinds_of_work import Work
from app.errors import Malformed
from app.ingest.columns import SampleReader
from app.ingest.packing import UNPACKERS, Packing
from app.ingest.parquet import parquet_rows
from tests.api.asking import Api, code

NDJSON, CSV, PARQUET = "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"
PACK: dict[Packing, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda body: pa.compress(body, codec="zstd", asbytes=True),
}


def send(api: Api, body: bytes, kind: str, *, packing: str | None = None, **query: Any) -> Any:
    headers = {"Content-Type": kind} | ({"Content-Encoding": packing} if packing else {})
    return api.http.post("/v1/datasets/d/samples", content=body, headers=headers, params=query)


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


# -- Parquet -------------------------------------------------------------------------------------------
def test_parquet_columns_become_samples(api: Api) -> None:
    body = parquet(
        {
            "id": [1, 2, 3],
            "text": pa.array(["a", "b", "b"]).dictionary_encode(),
            "label": [1, 0, None],
            "split": ["train", None, "test"],
            "at": [datetime(2026, 1, 2, tzinfo=UTC), None, None],
            "price": [Decimal("1.50"), None, None],
            "seen": [True, False, None],
        }
    )
    assert send(api, body, PARQUET).json()["created"] == 3
    first, second, third = (api.read(f"/samples/{i}") for i in "123")
    assert first["meta"] == {"at": "2026-01-02T00:00:00+00:00", "price": "1.50", "seen": True}
    assert (first["text"], first["label"], first["split"]) == ("a", 1, "train")
    assert (second["label"], second["split"], second["meta"]) == (0, "train", {"seen": False})
    assert (third["label"], third["split"], third["meta"]) == (None, "test", None)
    assert send(api, body, PARQUET).json()["unchanged"] == 3


def test_a_bad_parquet_row_is_a_row_error(api: Api) -> None:
    body = parquet({"id": ["1", "2", "3"], "text": ["a", None, "c"], "weight": [1.0, 1.0, -1.0]})
    response = send(api, body, PARQUET)
    assert response.status_code == 207
    assert [(one["index"], one["code"]) for one in response.json()["rejected"]] == [
        (1, "missing_field"),
        (2, "invalid_row"),
    ]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": ["1"]}, "no column text"),
        ({"id": ["1"], "text": [["a"]]}, "is of type list"),
        ({"id": ["1"], "text": [b"a"]}, "is of type binary"),
        ({"id": ["1"], "text": ["a"], "more": [{"x": 1}]}, "is of type struct"),
    ],
)
def test_parquet_of_another_shape_is_refused_whole(api: Api, columns: Any, told: str) -> None:
    response = send(api, parquet(columns), PARQUET)
    assert code(response, 400) == "invalid_parquet"
    assert told in response.json()["detail"]
    assert api.read()["samples"] == 0


def test_a_nested_column_may_be_left_out(api: Api) -> None:
    body = parquet({"id": ["1"], "text": ["a"], "more": [{"x": 1}], "brand": ["b"]})
    assert send(api, body, PARQUET, meta=["brand"]).json()["created"] == 1
    assert api.read("/samples/1")["meta"] == {"brand": "b"}


@pytest.mark.parametrize("body", [b"PAR1", b"PAR1" * 100, b"id,text\n1,a\n", b"\0" * 4096])
def test_what_is_no_parquet_file(api: Api, body: bytes) -> None:
    assert code(send(api, body, PARQUET), 400) == "invalid_parquet"
    assert code(send(api, b"", PARQUET), 422) == "empty_request"


def test_damaged_parquet_files_are_errors_and_no_crashes() -> None:
    whole = parquet({"id": [str(i) for i in range(200)], "text": [f"text {i % 7}" for i in range(200)]})
    drawn = random.Random(1)
    read = 0
    for _ in range(300):
        body = bytearray(whole)
        for _ in range(drawn.randint(1, 4)):
            body[drawn.randrange(len(body))] = drawn.randrange(256)
        cut = bytes(body[: drawn.choice([len(body), drawn.randrange(len(body))])])
        try:
            read += len(list(parquet_rows(io.BytesIO(cut), SampleReader())))
        except Malformed:
            continue
    assert read


def test_one_long_text_said_a_million_times_is_held_once(tmp_path: Path) -> None:
    text = "x" * 100_000
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([text]))
    table = pa.table({"id": pa.array(range(100_000)).cast(pa.string()), "text": texts})
    pq.write_table(table, tmp_path / "bomb.parquet")  # 10 GB of text in some hundred KB
    before = psutil.Process().memory_info().rss
    rows = parquet_rows(pa.memory_map(str(tmp_path / "bomb.parquet")), SampleReader())
    assert sum(len(decode().text) for decode in rows) == 100_000 * 100_000
    assert psutil.Process().memory_info().rss - before < 300e6


# -- packed --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("kind", [NDJSON, CSV, PARQUET, "application/json"])
def test_every_format_may_be_packed(api: Api, packing: Packing, kind: str) -> None:
    rows = [{"id": str(i), "text": f"text {i}"} for i in range(300)]
    plain = {
        NDJSON: "\n".join(map(json.dumps, rows)).encode(),
        CSV: ("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows)).encode(),
        PARQUET: parquet({"id": [row["id"] for row in rows], "text": [row["text"] for row in rows]}),
        "application/json": json.dumps({"samples": rows}).encode(),
    }[kind]
    assert send(api, PACK[packing](plain), kind, packing=packing).json()["created"] == 300
    assert api.read("/samples/299")["text"] == "text 299"


@pytest.mark.parametrize("packing", PACK)
def test_archives_that_are_none_or_cut_off(api: Api, packing: Packing) -> None:
    whole = PACK[packing](b'{"id": "1", "text": "a"}\n' * 100)
    for body in (b"no archive", whole[:-5], whole + b"garbage"):
        assert code(send(api, body, NDJSON, packing=packing), 400) == "invalid_packing"
    assert api.read()["samples"] == 0
    assert code(send(api, b"x", NDJSON, packing="br"), 415) == "unsupported_media_type"


@pytest.mark.parametrize("packing", PACK)
def test_an_archive_that_unpacks_to_far_too_much(api: Api, packing: Packing) -> None:
    before = psutil.Process().memory_info().rss
    bomb = PACK[packing](b"\n" * 300_000_000)
    assert len(bomb) < 400_000
    for kind in (NDJSON, "application/json"):
        response = send(api, bomb, kind, packing=packing)
        assert code(response, 400 if kind == NDJSON else 413) in ("invalid_packing", "body_too_large")
    assert psutil.Process().memory_info().rss - before < 150e6


@given(st.sampled_from(sorted(PACK)), st.lists(st.binary(max_size=2000), max_size=4), st.integers(1, 700))
def test_archives_one_after_another_are_unpacked_however_they_are_cut(
    packing: Packing, parts: list[bytes], size: int
) -> None:
    packed = b"".join(map(PACK[packing], parts))
    unpacker = UNPACKERS[packing]()
    found = [part for at in range(0, len(packed), size) for part in unpacker.feed(packed[at : at + size])]
    unpacker.finish()
    assert b"".join(found) == b"".join(parts)


def test_a_gzip_archive_may_be_padded() -> None:
    unpacker = UNPACKERS["gzip"]()
    assert b"".join(unpacker.feed(gzip.compress(b"a") + b"\0" * 100 + gzip.compress(b"b"))) == b"ab"
    assert zlib.decompress(gzip.compress(b"a"), 31) == b"a"


# -- columns -------------------------------------------------------------------------------------------
def test_columns_of_other_names(api: Api) -> None:
    body = b"review;stars;shop\ngood;5;a\nbad;1;b\n"
    columns = ["text:review", "label:stars"]
    response = send(api, body, CSV, column=columns, ids="rows", delimiter=";")
    assert response.json()["created"] == 2
    first = api.read("/samples/row-000001")
    assert (first["text"], first["label"], first["meta"]) == ("good", "5", {"shop": "a"})
    assert send(api, body, CSV, column=columns, ids="rows", delimiter=";", meta="").json()["updated"] == 2
    assert api.read("/samples/row-000002")["meta"] is None


def test_rows_of_ndjson_may_be_named_as_well(api: Api) -> None:
    lines = [
        {"n": 7, "review": "good", "stars": 5, "shop": {"name": "a"}},
        {"n": 8, "review": "bad", "stars": 1, "shop": "b"},
        {"n": True, "review": "bad"},
        [1],
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    response = send(api, body, NDJSON, column=["id:n", "text:review", "label:stars"])
    assert [(one["index"], one["code"]) for one in response.json()["rejected"]] == [
        (0, "invalid_row"),
        (2, "invalid_row"),
        (3, "invalid_row"),
    ]
    assert api.read("/samples/8")["meta"] == {"shop": "b"}


def test_numbers_go_by_the_row_of_the_file_rejected_ones_included(api: Api) -> None:
    body = b"text\nfirst\n,\n\nthird\n"
    assert send(api, body, CSV, ids="rows").json()["created"] == 2
    assert api.walk("/samples") == ["row-000001", "row-000003"]


@pytest.mark.parametrize("column", ["text", "text:", "words:a", ["text:a", "text:b"]])
def test_columns_that_cannot_be_meant(api: Api, column: Any) -> None:
    assert code(send(api, b"a\nb\n", CSV, column=column), 422) == "invalid_columns"


def test_a_json_body_has_no_columns(api: Api) -> None:
    response = api.http.post(
        "/v1/datasets/d/samples", json={"samples": [{"id": "1", "text": "a"}]}, params={"ids": "rows"}
    )
    assert code(response, 422) == "invalid_request"


def test_a_column_that_is_missing_is_named(api: Api) -> None:
    response = send(api, b"id,body\n1,a\n", CSV, column="text:review")
    assert "no column review" in response.json()["detail"]


# -- rows ----------------------------------------------------------------------------------------------
def test_null_characters_are_no_text(api: Api) -> None:
    rows = [
        {"id": "1", "text": "a\0b"},
        {"id": "2", "text": "a", "text_pair": "\0"},
        {"id": "3", "text": "c"},
    ]
    response = send(api, "\n".join(map(json.dumps, rows)).encode(), NDJSON)
    assert [one["code"] for one in response.json()["rejected"]] == ["invalid_row", "invalid_row"]
    assert "null character" in response.json()["rejected"][0]["detail"]
    assert send(api, b"id,text\n1,a\0b\n2,b\n", CSV).json()["created"] == 1


# -- back-pressure -------------------------------------------------------------------------------------
def test_more_writers_than_may_be_are_told_to_come_again(serve: Callable[..., Api]) -> None:
    api = serve(max_writers=1)
    api.put()
    rows = api.http.app.state.admission.gates[Work.ROWS]  # type: ignore[attr-defined]
    assert rows.enter("another")
    response = send(api, b'{"id": "1", "text": "a"}', NDJSON)
    assert code(response, 429) == "too_many_writers"
    assert int(response.headers["Retry-After"]) > 0
    rows.leave("another")
    assert send(api, b'{"id": "1", "text": "a"}', NDJSON).status_code == 200


# -- the same request twice ----------------------------------------------------------------------------
def test_the_same_request_under_a_key_gets_the_same_answer(api: Api) -> None:
    body = b'{"id": "1", "text": "a"}\n{"id": "2", "text": ""}\n'
    headers = {"Content-Type": NDJSON, "Idempotency-Key": "k1"}
    first, again = (api.http.post("/v1/datasets/d/samples", content=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (207, 207)
    assert first.json()["created"] == 1
    assert again.json() == first.json()
    other = api.http.post("/v1/datasets/d/samples", content=body.replace(b"a", b"b"), headers=headers)
    assert code(other, 409) == "idempotency_key_reused"
    assert api.read("/samples/1")["text"] == "a"
    without = api.body(body, NDJSON)
    assert without.json()["unchanged"] == 1


def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    headers = {"Content-Type": CSV, "Idempotency-Key": "k1"}
    refused = api.http.post("/v1/datasets/d/samples", content=b"id\n1\n", headers=headers)
    assert code(refused, 400) == "invalid_csv"
    sent = api.http.post("/v1/datasets/d/samples", content=b"id,text\n1,a\n", headers=headers)
    assert sent.json()["created"] == 1
