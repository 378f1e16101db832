"""Bodies of many rows that are no samples: JSON as a whole, other formats as streams of any length."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

from anyio import to_thread
from fastapi import Request

from app.api.row_bodies import BYTES_A_STEP, JSON, KINDS, json_rows, media_type, packing_of
from app.api.stopping import Stops
from app.errors import Malformed, UnsupportedMedia
from app.ingest.formats import RowFormat, open_rows
from app.ingest.packing import Packing
from app.ingest.report import IngestReport
from app.ingest.streams import RowReader, RowStream
from app.settings import Settings


class Bulk(Protocol):
    """What stores rows, batch by batch."""

    batch_rows: int
    report: IngestReport

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

    async def store(self, chunks: AsyncIterator[bytes], bulk: Bulk) -> IngestReport:
        """Stores the rows; what became of them.

        Raises:
            Stops: the service does; says what is stored.
        """
        try:
            return await self._store(chunks, bulk)
        except Stops as stopped:
            report = bulk.report
            stored = report.received - report.rejected_total
            told = f"{stopped.detail}; of the first {report.received} rows {stored} are stored, none after"
            raise Stops(stopped.code, told, errors=report.rejected) from stopped

    async def _store(self, chunks: AsyncIterator[bytes], bulk: Bulk) -> IngestReport:
        if self.media == JSON:
            rows = await json_rows(
                chunks, self.packing, self.settings.max_body_bytes, self.name, self._from_json
            )
            await to_thread.run_sync(bulk.add, rows)
        else:
            form = RowFormat(KINDS[self.media], self.packing, self.delimiter)
            filling = _Filling(bulk, open_rows(form, self.reader, self.settings), self.settings)
            try:
                await _take_in(chunks, filling)
            finally:
                filling.close()
        return bulk.report

    def _from_json(self, raw: bytes) -> Any:
        return self.reader.from_json(raw, 0)


async def _take_in(chunks: AsyncIterator[bytes], filling: _Filling) -> None:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= BYTES_A_STEP:
            await to_thread.run_sync(filling.accept, bytes(held))
            held.clear()
    await to_thread.run_sync(filling.accept, bytes(held))
    await to_thread.run_sync(filling.finish)


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

    def close(self) -> None:
        self._stream.close()

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
