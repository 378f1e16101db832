"""Bodies of many rows that are no samples: JSON as a whole, NDJSON and CSV as streams of any length."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any, Protocol

import msgspec
from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.api.problems import problem_response
from app.errors import REMEDIES, Invalid, Malformed, TooLarge, UnsupportedMedia
from app.ingest.event_writing import BulkReport
from app.ingest.streams import CsvStream, Decoding, NdjsonStream, RowKind, RowStream
from app.settings import Settings

_STREAMS: dict[str, type[RowStream]] = {"application/x-ndjson": NdjsonStream, "text/csv": CsvStream}


class Bulk(Protocol):
    """What stores rows, batch by batch."""

    batch_rows: int
    report: BulkReport

    def add(self, rows: Iterable[Decoding]) -> None: ...


def bulk_body(name: str, row: dict[str, Any], columns: str) -> dict[str, Any]:
    """How the body is documented.

    Args:
        name: of the list in a JSON body.
        row: schema of one row.
        columns: what a CSV has.
    """
    rows = {"type": "array", "items": row, "minItems": 1}
    whole = {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: rows},
    }
    content = {
        "application/json": {"schema": whole},
        "application/x-ndjson": {"schema": {"type": "string", "description": "One such row a line."}},
        "text/csv": {"schema": {"type": "string", "description": columns}},
    }
    return {"requestBody": {"required": True, "content": content}}


async def store_bulk(request: Request, settings: Settings, name: str, kind: RowKind, bulk: Bulk) -> Response:
    """Reads the body, stores its rows and answers what became of them."""
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media == "application/json":
        rows = await _json_rows(request, settings.max_body_bytes, name, kind)
        await to_thread.run_sync(bulk.add, rows)
    elif media in _STREAMS:
        stream = _STREAMS[media](settings.max_line_bytes, kind)
        await _add_stream(request.stream(), stream, bulk, settings.max_body_bytes)
    else:
        raise UnsupportedMedia("unsupported_media_type", f"bodies of type {media!r} are not read here")
    return _answer(request, bulk.report)


async def _json_rows(request: Request, limit: int, name: str, kind: RowKind) -> list[Decoding]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge("body_too_large", f"a JSON body may have {limit} bytes")
    try:
        rows = _listed(bytes(body.removeprefix(codecs.BOM_UTF8)), name)
    except msgspec.ValidationError as error:
        pointer = {"pointer": f"/{name}", "detail": str(error)}
        raise Invalid("invalid_request", str(error), errors=[pointer]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("invalid_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Malformed("invalid_json", "the body is nested too deeply") from error
    return [partial(kind.from_json, bytes(raw)) for raw in rows]


def _listed(body: bytes, name: str) -> list[msgspec.Raw]:
    """Raises `msgspec.DecodeError`."""
    found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if found.keys() != {name}:
        raise msgspec.ValidationError(f"Expected an object with the one field `{name}`")
    return msgspec.json.decode(found[name], type=list[msgspec.Raw])


async def _add_stream(chunks: AsyncIterator[bytes], rows: RowStream, bulk: Bulk, max_held_bytes: int) -> None:
    """Stores what has come in whenever it fills a batch, so that memory does not grow with the body."""
    batch: list[Decoding] = []
    held_bytes = 0
    try:
        async for chunk in chunks:
            batch += rows.feed(chunk)
            held_bytes += len(chunk)
            if len(batch) >= bulk.batch_rows or held_bytes >= max_held_bytes:
                await to_thread.run_sync(bulk.add, batch)
                batch, held_bytes = [], 0
        batch += rows.finish()
    except Malformed as error:
        report = bulk.report
        if not report.received:
            raise
        stored = report.received - report.rejected_total
        detail = f"{error.detail}; of the first {report.received} rows {stored} are stored, none after"
        raise Malformed(error.code, detail, errors=report.rejected) from error
    await to_thread.run_sync(bulk.add, batch)


def _answer(request: Request, report: BulkReport) -> Response:
    if not report.received:
        raise Invalid("empty_request", "the request holds no rows")
    counts: dict[str, Any] = msgspec.to_builtins(report)
    if report.rejected_total == report.received:
        detail = f"none of the {report.received} rows could be stored; the first: "
        return problem_response(
            request,
            422,
            "all_rows_rejected",
            detail + report.rejected[0]["detail"],
            REMEDIES["all_rows_rejected"],
            report.rejected,
            counts,
        )
    return JSONResponse(counts, 207 if report.rejected_total else 200)
