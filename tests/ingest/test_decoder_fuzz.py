"""Whatever bytes come, a decoder gives rows or a domain error: never another exception, however it is cut.

FUZZ_EXAMPLES: how many bodies of each kind are tried.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from itertools import pairwise
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.row_bodies import json_rows
from app.contracts.expressions import read_set_expression
from app.errors import GradSiftError
from app.ingest.columns import SampleReader
from app.ingest.event_rows import event_reader, item_reader
from app.ingest.formats import FileKind, RowFormat, open_rows
from app.ingest.packing import UNPACKERS, Packing
from app.ingest.rows import RowError, row_from_json
from app.services.cursors import Position, decode_cursor, encode_cursor
from app.settings import Settings

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LIMITS = Settings(max_line_bytes=2_000, max_file_bytes=20_000)
READERS: dict[str, Callable[[], Any]] = {
    "samples": SampleReader,
    "events": event_reader,
    "items": item_reader,
}
ROWS = [
    {
        "id": f"s{number}",
        "text": 'a "text", é',
        "label": "yes",
        "user": "u1",
        "item": "i1",
        "behavior": "click",
        "timestamp": 1_700_000_000 + number,
    }
    for number in range(5)
]


def _csv() -> bytes:
    names = list(ROWS[0])
    lines = [",".join(names)] + [
        ",".join('"' + str(row[name]).replace('"', '""') + '"' for name in names) for row in ROWS
    ]
    return "\r\n".join(lines).encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


WHOLE: dict[FileKind, bytes] = {
    "ndjson": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "csv": _csv(),
    "parquet": _parquet(),
}
PACK: dict[Packing, Callable[[bytes], bytes]] = {"none": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of nothing, or good ones of which some are turned over, left out or put in."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=300))
    body = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        match draw(st.sampled_from(("flip", "cut", "put", "double"))):
            case "flip" if body:
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del body[at : at + draw(st.integers(1, 40))]
            case "put":
                body[at:at] = draw(st.binary(max_size=8))
            case _:
                body[at:at] = body[at : at + 50]
    return bytes(body)


def read(form: RowFormat, reader: Any, body: bytes, cuts: list[int]) -> list[Any]:
    """The rows, RowErrors as their texts; the body comes in as the cuts divide it."""
    stream = open_rows(form, reader, LIMITS)
    at = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    found: list[Any] = []

    def take(rows: Any) -> None:
        for row in rows:
            try:
                found.append(row())
            except RowError as error:
                found.append((error.code, error.detail, error.sample_id))

    with closing(stream):  # a file that is left open fails the test
        try:
            for start, stop in pairwise(at):
                take(stream.feed(body[start:stop]))
            take(stream.finish())
        except GradSiftError as error:
            found.append((error.code, error.detail))
    return found


@pytest.mark.parametrize("packing", list(PACK))
@pytest.mark.parametrize("kind", list(WHOLE))
def test_files_of_rows(kind: FileKind, packing: Packing) -> None:
    packed = PACK[packing](WHOLE[kind])
    form = RowFormat(kind, packing)

    @many
    @given(
        body=spoiled(packed),
        rows=st.sampled_from(list(READERS)),
        cuts=st.lists(st.integers(0, 5_000), max_size=6),
    )
    def never_breaks(body: bytes, rows: str, cuts: list[int]) -> None:
        reader = READERS[rows]
        at_once = read(form, reader(), body, [])
        in_pieces = read(form, reader(), body, cuts)
        # Where a stream breaks off does not depend on the cuts; what its last words say of bytes may.
        assert len(in_pieces) == len(at_once) or isinstance(at_once[-1], tuple)

    never_breaks()
    assert len(read(form, READERS["samples"](), packed, [7, 80])) == len(ROWS)


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_archives(packing: Packing) -> None:
    body = os.urandom(50) * 20
    packed = PACK[packing](body)

    @many
    @given(sent=spoiled(packed), cuts=st.lists(st.integers(0, 2_000), max_size=6))
    def never_breaks(sent: bytes, cuts: list[int]) -> None:
        unpacker, out = UNPACKERS[packing](), bytearray()
        at = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
        try:
            for start, stop in pairwise(at):
                for part in unpacker.feed(sent[start:stop]):
                    assert len(part) <= 2**18
                    out += part
            unpacker.finish()
        except GradSiftError as error:
            assert error.code == "invalid_packing"
        else:
            assert sent != packed or out == body

    never_breaks()


@many
@given(
    body=spoiled(json.dumps({"samples": ROWS}).encode())
    | st.integers(1, 100_000).map(lambda n: b'{"samples": ' + b"[" * n)
)
def test_json_bodies(body: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 97):
            yield body[at : at + 97]

    try:
        rows = asyncio.run(json_rows(chunks(), "none", 50_000, "samples", row_from_json))
    except GradSiftError as error:
        assert error.code in ("invalid_json", "invalid_request", "body_too_large")
        return
    for row in rows:
        try:
            row()
        except RowError as error:
            assert error.code in ("invalid_row", "missing_field")


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: Position
    key: float | None


@many
@given(
    place=st.builds(
        Place, st.integers(0, 2**53 - 1), st.none() | st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_cursors_come_back(place: Place) -> None:
    assert decode_cursor(encode_cursor(place), Place) == place


@many
@given(
    cursor=st.text(max_size=60)
    | spoiled(encode_cursor(Place(7, 0.5)).encode()).map(lambda raw: raw.decode("latin-1"))
)
def test_cursors_of_others(cursor: str) -> None:
    try:
        decode_cursor(cursor, Place)
    except GradSiftError as error:
        assert error.code == "invalid_cursor"


@many
@given(text=st.text(max_size=40) | st.text(st.sampled_from("core+edgnisful:@0123random"), max_size=30))
def test_choices_of_samples(text: str) -> None:
    try:
        found = read_set_expression(text)
    except ValueError as error:
        assert "is no choice of samples" in str(error)
    else:
        assert found.version is None or found.version > 0
