"""Bodies of many rows that are no samples: JSON as a whole, other formats as streams of any length."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import msgspec
from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.api.problems import problem_response
from app.api.row_bodies import BYTES_A_STEP, JSON, KINDS, media_type, packing_of
from app.errors import REMEDIES, Invalid, Malformed, TooLarge, UnsupportedMedia
from app.ingest.event_writing import BulkReport
from app.ingest.formats import RowFormat, open_rows
from app.ingest.packing import UNPACKERS, Packing
from app.ingest.streams import RowReader, RowStream
from app.settings import Settings


class Bulk(Protocol):
    """What stores rows, batch by batch."""

    batch_rows: int
    report: BulkReport

    def add(self, rows: Iterable[Callable[[], Any]]) -> None: ...


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
        "application/vnd.apache.parquet": {
            "schema": {"type": "string", "format": "binary", "description": "Columns as in CSV."}
        },
    }
    return {"requestBody": {"required": True, "content": content}}


@dataclass(frozen=True)
class BulkBody:
    """A request's body: the name of its list in JSON, who reads a row, and how bytes become rows."""

    name: str
    reader: RowReader[Any]
    settings: Settings
    media: str
    packing: Packing
    delimiter: str

    @classmethod
    def of(
        cls, request: Request, settings: Settings, name: str, reader: RowReader[Any], delimiter: str
    ) -> Self:
        """Raises UnsupportedMedia."""
        media = media_type(request)
        if media != JSON and media not in KINDS:
            raise UnsupportedMedia("unsupported_media_type", f"bodies of type {media!r} are not read here")
        return cls(name, reader, settings, media, packing_of(request), delimiter)

    async def store(self, chunks: AsyncIterator[bytes], bulk: Bulk) -> BulkReport:
        """Stores the rows; what became of them."""
        if self.media == JSON:
            await to_thread.run_sync(bulk.add, await self._json_rows(chunks))
        else:
            form = RowFormat(KINDS[self.media], self.packing, self.delimiter)
            filling = _Filling(bulk, open_rows(form, self.reader, self.settings), self.settings)
            held = bytearray()
            async for chunk in chunks:
                held += chunk
                if len(held) >= BYTES_A_STEP:
                    await to_thread.run_sync(filling.accept, bytes(held))
                    held.clear()
            await to_thread.run_sync(filling.accept, bytes(held))
            await to_thread.run_sync(filling.finish)
        return bulk.report

    async def _json_rows(self, chunks: AsyncIterator[bytes]) -> list[Callable[[], Any]]:
        body = bytearray()
        limit = self.settings.max_body_bytes
        unpacker = UNPACKERS[self.packing]()
        async for chunk in chunks:
            for part in unpacker.feed(chunk):
                body += part
                if len(body) > limit:
                    raise TooLarge("body_too_large", f"a JSON body may have {limit} bytes")
        unpacker.finish()
        try:
            rows = _listed(bytes(body.removeprefix(codecs.BOM_UTF8)), self.name)
        except msgspec.ValidationError as error:
            pointer = {"pointer": f"/{self.name}", "detail": str(error)}
            raise Invalid("invalid_request", str(error), errors=[pointer]) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed("invalid_json", f"the body is not JSON: {error}") from error
        except RecursionError as error:
            raise Malformed("invalid_json", "the body is nested too deeply") from error
        return [partial(self.reader.from_json, bytes(raw), at + 1) for at, raw in enumerate(rows)]


def _listed(body: bytes, name: str) -> list[msgspec.Raw]:
    """Raises `msgspec.DecodeError`."""
    found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if found.keys() != {name}:
        raise msgspec.ValidationError(f"Expected an object with the one field `{name}`")
    return msgspec.json.decode(found[name], type=list[msgspec.Raw])


class _Filling:
    """Stores the rows of a stream whenever they fill a batch, so that memory does not grow with the body."""

    def __init__(self, bulk: Bulk, stream: RowStream[Any], settings: Settings) -> None:
        self._bulk = bulk
        self._stream = stream
        self._max_bytes = settings.max_body_bytes
        self._batch: list[Callable[[], Any]] = []
        self._stored_bytes = 0

    def accept(self, chunk: bytes) -> None:
        """Raises Malformed, TooLarge: it cannot be read on; says what is stored."""
        self._take(self._stream.feed(chunk))

    def finish(self) -> None:
        self._take(self._stream.finish())
        self._store()

    def _take(self, rows: Iterator[Callable[[], Any]]) -> None:
        try:
            for row in rows:
                self._batch.append(row)
                held_bytes = self._stream.fed_bytes - self._stored_bytes
                if len(self._batch) >= self._bulk.batch_rows or held_bytes >= self._max_bytes:
                    self._store()
        except Malformed as error:
            report = self._bulk.report
            if not report.received:
                raise
            stored = report.received - report.rejected_total
            detail = f"{error.detail}; of the first {report.received} rows {stored} are stored, none after"
            raise Malformed(error.code, detail, errors=report.rejected) from error

    def _store(self) -> None:
        batch, self._batch, self._stored_bytes = self._batch, [], self._stream.fed_bytes
        self._bulk.add(batch)


def bulk_answer(request: Request, report: BulkReport) -> Response:
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
