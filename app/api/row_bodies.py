"""Bodies of rows: of which format, how they are unpacked, how they are taken in."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache, partial
from typing import Any, TypeVar

import msgspec
from anyio import CancelScope, to_thread
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.api.facts import tell
from app.api.metrics import ROWS_INGESTED
from app.api.problems import problem_response
from app.api.stopping import Stops
from app.errors import REMEDIES, Invalid, Malformed, TooLarge, UnsupportedMedia
from app.ingest.formats import FileKind
from app.ingest.packing import UNPACKERS, Packing
from app.ingest.report import IngestReport
from app.ingest.session import IngestSession

R = TypeVar("R")
BYTES_A_STEP = 2**18
JSON = "application/json"
KINDS: dict[str, FileKind] = {
    "application/x-ndjson": "ndjson",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
}
_ENTERED = ("received", "created", "updated", "unchanged")
_PACKINGS: dict[str, Packing] = {"": "none", "identity": "none", "gzip": "gzip", "zstd": "zstd"}


def media_type(request: Request) -> str:
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower()


def field_column(fields: Iterable[str]) -> str:
    """The pattern of `FIELD:COLUMN`."""
    return rf"^({'|'.join(fields)}):[\s\S]+$"


def packing_of(request: Request) -> Packing:
    """Raises UnsupportedMedia."""
    named = request.headers.get("content-encoding", "").strip().lower()
    if named not in _PACKINGS:
        raise UnsupportedMedia("unsupported_media_type", f"Content-Encoding {named!r} is not read here")
    return _PACKINGS[named]


async def json_rows(
    chunks: AsyncIterator[bytes], packing: Packing, limit: int, name: str, from_json: Callable[[bytes], R]
) -> list[Callable[[], R]]:
    """The rows of a JSON body, `{name: [...]}`, which is held whole."""
    body = bytearray()
    unpacker = UNPACKERS[packing]()
    async for chunk in chunks:
        for part in unpacker.feed(chunk):
            body += part
            if len(body) > limit:
                raise TooLarge("body_too_large", f"a JSON body may have {limit} bytes")
    unpacker.finish()
    try:
        rows = getattr(_decoder(name).decode(body.removeprefix(codecs.BOM_UTF8)), name)
    except msgspec.ValidationError as error:
        message = str(error)
        pointer = f"/{name}" if f"`{name}`" in message or f"$.{name}" in message else "/"
        raise Invalid("invalid_request", message, errors=[{"pointer": pointer, "detail": message}]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("invalid_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Malformed("invalid_json", "the body is nested too deeply") from error
    return [partial(from_json, bytes(raw)) for raw in rows]


@cache
def _decoder(name: str) -> msgspec.json.Decoder[Any]:
    """Of an object with one field, a list."""
    fields = [(name, list[msgspec.Raw])]
    return msgspec.json.Decoder(msgspec.defstruct("Body", fields, forbid_unknown_fields=True))


async def take_in(chunks: AsyncIterator[bytes], session: IngestSession) -> None:
    """Feeds the session whatever has come, once it is worth a step of its own.

    Raises:
        Stops: the service does; says what is stored.
    """
    held = bytearray()
    try:
        try:
            async for chunk in chunks:
                held += chunk
                if len(held) >= BYTES_A_STEP:
                    await to_thread.run_sync(session.accept, bytes(held))
                    held.clear()
        except Stops as stopped:
            raise await to_thread.run_sync(session.broken_off, stopped) from stopped
        await to_thread.run_sync(session.accept, bytes(held))
        await to_thread.run_sync(session.finish)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(session.close)


def rows_answer(request: Request, report: IngestReport) -> Response:
    if not report.received:
        raise Invalid("empty_request", "the request holds no rows")
    _count(request.url.path.rpartition("/")[2], report)
    counts: dict[str, Any] = msgspec.to_builtins(report)
    entered = {name: getattr(report, name) for name in _ENTERED}
    tell(request, counts=entered | {"rejected": report.rejected_total})
    if not report.stored:
        return problem_response(
            request,
            422,
            "all_rows_rejected",
            f"none of the {report.received} rows could be stored; the first: {report.rejected[0]['detail']}",
            REMEDIES["all_rows_rejected"],
            report.rejected,
            counts,
        )
    return JSONResponse(counts, 207 if report.rejected_total else 200)


def _count(what: str, report: IngestReport) -> None:
    for outcome in ("created", "updated", "unchanged"):
        ROWS_INGESTED.labels(what, outcome).inc(getattr(report, outcome))
    ROWS_INGESTED.labels(what, "rejected").inc(report.rejected_total)
