"""POST samples as NDJSON and CSV: of any length, in any chunks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.columns import SampleReader
from app.ingest.streams import CsvStream, NdjsonStream, RowStream
from tests.api.asking import Api, code

NDJSON, CSV = "application/x-ndjson", "text/csv"
cells = st.text(st.sampled_from('a,"\n\r\té '), max_size=8)


def decoded(stream: RowStream[Any], body: bytes, cuts: list[int]) -> list[Any]:
    """The rows of a body that comes in as the cuts divide it."""
    at = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    rows = [row for start, stop in pairwise(at) for row in stream.feed(body[start:stop])]
    return [decode() for decode in [*rows, *stream.finish()]]


def rejected(response: Any) -> list[tuple[int, str]]:
    return [(one["index"], one["code"]) for one in response.json()["rejected"]]


# -- NDJSON --------------------------------------------------------------------------------------------
def test_ndjson_lines(api: Api) -> None:
    body = '\ufeff{"id": "1", "text": "a"}\r\n\n  \n{"id": "2", "text": "é\\n"}\n{"id": "3", "text": "c"}'
    assert api.body(body, NDJSON).json()["created"] == 3
    assert api.read("/samples/2")["text"] == "é\n"


def test_each_ndjson_line_stands_alone(api: Api) -> None:
    lines = [
        b'{"id": "1", "text": "a"}',
        b"not json",
        b'{"id": "2", "text": "\xff"}',
        b'{"id": "3", "text": "\\ud800"}',
        b'{"id": "4", "text": "d"} {"id": "5", "text": "e"}',
        b'[{"id": "6", "text": "f"}]',
        b'{"id": ' * 50_000,
        b'{"id": "7", "text": "g", "meta": ' + b"[" * 50_000,
        b'{"id": "8", "text": "h"}',
    ]
    response = api.body(b"\n".join(lines), NDJSON)
    assert response.status_code == 207
    assert rejected(response) == [(index, "invalid_row") for index in range(1, 8)]
    assert api.walk("/samples") == ["1", "8"]


def test_a_line_that_is_too_long_is_a_row_that_is_wrong_whatever_its_chunks(
    serve: Callable[..., Api],
) -> None:
    api = serve(max_line_bytes=2000)
    api.put()
    lines = [{"id": "1", "text": "a"}, {"id": "2", "text": "x" * 100_000}, {"id": "3", "text": "c"}]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    response = api.body(body, NDJSON)
    assert response.status_code == 207
    assert rejected(response) == [(1, "invalid_row")]
    assert api.walk("/samples") == ["1", "3"]
    for size in (1, 999, 2001, 50_000):
        stream = NdjsonStream(SampleReader(), 2000)
        rows = [row for at in range(0, len(body), size) for row in stream.feed(body[at : at + size])]
        assert len([*rows, *stream.finish()]) == 3


def test_memory_holds_one_line_at_most() -> None:
    stream = NdjsonStream(SampleReader(), 1000)
    for _ in range(10_000):
        assert list(stream.feed(b"x" * 500)) == []
    assert len(stream._pending) <= 1000
    assert len(list(stream.finish())) == 1


@given(st.lists(st.text(max_size=20), max_size=6), st.lists(st.integers(0, 10_000), max_size=6))
def test_ndjson_is_the_same_however_it_is_cut(texts: list[str], cuts: list[int]) -> None:
    body = "\n".join(json.dumps({"id": "x", "text": text}, ensure_ascii=False) for text in texts)
    rows = decoded(NdjsonStream(SampleReader(), 10_000), body.encode("utf-8", "replace"), cuts)
    assert [row.text for row in rows] == [text.encode("utf-8", "replace").decode() for text in texts]


# -- CSV -----------------------------------------------------------------------------------------------
def test_csv_with_everything_in_it(api: Api) -> None:
    body = (
        "\ufeffid, text ,label,split,weight,note,empty\r\n"
        '1,"two\r\nlines, ""quoted""",yes,,,"a note",\r\n'
        "\r\n"
        "2,plain,1,test,0.5,,\n"
        '3,a 5" pipe,no,validation,,7,'
    )
    assert api.body(body, CSV).json()["created"] == 3
    first, second, third = (api.read(f"/samples/{i}") for i in "123")
    assert first["text"] == 'two\r\nlines, "quoted"'
    assert (first["label"], first["split"], first["weight"], first["meta"]) == (
        "yes",
        "train",
        None,
        {"note": "a note"},
    )
    assert (second["label"], second["split"], second["weight"], second["meta"]) == ("1", "test", 0.5, None)
    assert (third["text"], third["meta"]) == ('a 5" pipe', {"note": "7"})


def test_each_csv_record_stands_alone(api: Api) -> None:
    body = (
        "id,text,weight\n"
        "1,good,\n"
        "2,too,many,cells\n"
        "3\n"
        '4,"closed"badly,\n'
        "5,good,heavy\n"
        "6,,\n"
        ",no id,\n"
        "7,good,nan\n"
        "8,good,1\n"
    )
    response = api.body(body, CSV)
    assert rejected(response) == [
        (1, "invalid_row"),
        (2, "invalid_row"),
        (3, "invalid_row"),
        (4, "invalid_row"),
        (5, "missing_field"),
        (6, "missing_field"),
        (7, "invalid_row"),
    ]
    assert api.walk("/samples") == ["1", "8"]


@pytest.mark.parametrize(
    "body",
    [
        b"id,label\n1,a\n",
        b"text\nt\n",
        b"id,text,id\n1,t,2\n",
        b"id,text,note,note\n1,t,a,b\n",
        b"id;text\n1;t\n",
        b"1,t\n2,u\n",
        b'id,"text"x\n1,t\n',
        b"id,text\r1,t\r",
        b"\xff\xfei\x00d\x00",
        b"id,text\n1,good\n2,\xff\n",
        b'id,text\n1,good\n2,"open',
        b'id,text\n1,good\n2,"open\n3,swallowed\n',
        b"id,text\n1," + b"x" * 5000 + b"\n",
        b'id,text\n1,"' + b"x\n" * 5000 + b'"\n',
        b"id,text," + b"x" * 5000,
    ],
    ids=lambda body: str(body[:30]),
)
def test_files_that_are_not_csv_store_nothing(serve: Callable[..., Api], body: bytes) -> None:
    api = serve(max_line_bytes=4000)
    api.put()
    assert code(api.body(body, CSV), 400) == "invalid_csv"
    assert api.read()["samples"] == 0


@pytest.mark.parametrize("body", ["", "\n\n", "id,text\n", "id,text"])
def test_files_without_rows(api: Api, body: str) -> None:
    assert code(api.body(body, CSV), 422) == "empty_request"
    assert code(api.body("\n", NDJSON), 422) == "empty_request"


def test_a_long_file_that_breaks_says_how_far_it_was_stored(serve: Callable[..., Api]) -> None:
    api = serve(ingest_batch_rows=10)
    api.put()
    rows = "".join(f"{i},text {i}\n" if i != 3 else "3,\n" for i in range(25))
    response = api.body(f'id,text\n{rows}x,"open', CSV)
    assert code(response, 400) == "invalid_csv"
    assert "of the first 25 rows 24 are stored, none after" in response.json()["detail"]
    assert [one["index"] for one in response.json()["errors"]] == [3]
    assert api.read()["samples"] == 24


def test_a_cell_may_be_as_long_as_a_text(api: Api) -> None:
    text = "x" * 199_999 + "é"
    assert api.body(f'id,text\n1,"{text}"\n', CSV).status_code == 200
    assert api.read("/samples/1")["text"] == text


def test_a_body_far_over_the_limit_of_json_is_streamed(serve: Callable[..., Api]) -> None:
    api = serve(max_body_bytes=10_000)
    api.put()
    rows = [{"id": str(i), "text": "x" * 500} for i in range(100)]
    assert code(api.post(*rows), 413) == "body_too_large"
    assert api.read()["samples"] == 0
    body = "\n".join(json.dumps(row) for row in rows)
    assert api.body(body, NDJSON).json()["created"] == 100


@given(
    st.lists(st.tuples(cells, cells), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_csv_is_read_as_it_was_written_however_it_is_cut(
    rows: list[tuple[str, str]], end: str, quote_all: bool, cuts: list[int]
) -> None:
    buffer = io.StringIO()
    # With "\n" as its line end Python's writer leaves a lone "\r" unquoted, which is no CSV.
    quoting = csv.QUOTE_ALL if quote_all or end == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(buffer, lineterminator=end, quoting=quoting)
    writer.writerow(["id", "text", "note"])
    writer.writerows([f"i{n}", f"x{text}", note] for n, (text, note) in enumerate(rows))
    found = decoded(CsvStream(SampleReader(), 100_000), buffer.getvalue().encode(), cuts)
    assert [(row.id, row.text) for row in found] == [
        (f"i{n}", f"x{text}") for n, (text, _) in enumerate(rows)
    ]
    assert [(row.meta or {}).get("note", "") for row in found] == [note for _, note in rows]
