"""/v1/datasets/{dataset}/samples"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.dependencies import Cursor, DatasetDep, Limit, Service, ServiceDep
from app.api.explanation_schemas import ExplanationOut
from app.api.leaving import unless_client_leaves
from app.api.metrics import ROWS_INGESTED
from app.api.problems import problem_response
from app.api.schemas import IngestOut, SampleOut, SamplePage
from app.contracts import Split
from app.contracts.flags import SampleFlag
from app.errors import REMEDIES, Invalid, Malformed, NotFound, TooLarge, UnsupportedMedia
from app.ingest.rows import row_from_json
from app.ingest.streams import CsvStream, Decoded, NdjsonStream, RowStream
from app.ingest.writing import Ingest, IngestReport, delete_sample
from app.services.datasets import find_sample
from app.services.explanation import attributed, explain
from app.services.samples import Filters, SetFilter, describe, list_samples

router = APIRouter(prefix="/v1/datasets/{dataset}/samples", tags=["samples"])
_STREAMS: dict[str, type[RowStream]] = {"application/x-ndjson": NdjsonStream, "text/csv": CsvStream}
_SAMPLE_SCHEMA = {
    "type": "object",
    "required": ["id", "text"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 128},
        "text": {"type": "string"},
        "text_pair": {"type": ["string", "null"]},
        "label": {"type": ["string", "number", "null"]},
        "group": {"type": ["string", "integer", "null"]},
        "split": {"enum": ["train", "validation", "test"], "default": "train"},
        "weight": {"type": ["number", "null"], "minimum": 0},
        "meta": {"type": ["object", "null"]},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["samples"],
                    "additionalProperties": False,
                    "properties": {"samples": {"type": "array", "items": _SAMPLE_SCHEMA, "minItems": 1}},
                }
            },
            "application/x-ndjson": {"schema": {"type": "string", "description": "One SAMPLE a line."}},
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": "Header with `id` and `text`; columns unknown to a sample become `meta`.",
                }
            },
        },
    }
}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    samples: list[msgspec.Raw]


@router.post(
    "",
    response_model=IngestOut,
    responses={207: {"model": IngestOut, "description": "Some rows were rejected; the others are stored."}},
    openapi_extra=_BODY,
)
async def post_samples(dataset: DatasetDep, service: ServiceDep, request: Request) -> Response:
    """Stores samples by id; good rows are stored though others are rejected. Durable when answered."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    ingest = Ingest(service.state, service.settings, dataset)
    if kind == "application/json":
        rows = await _json_rows(request, service.settings.max_body_bytes)
        await to_thread.run_sync(ingest.add, rows)
    elif kind in _STREAMS:
        await _add_stream(request.stream(), _STREAMS[kind](service.settings.max_line_bytes), ingest, service)
    else:
        raise UnsupportedMedia("unsupported_media_type", f"bodies of type {kind!r} are not read here")
    return _answer(request, ingest.report)


@router.get("")
def get_samples(
    dataset: DatasetDep,
    service: ServiceDep,
    set: SetFilter | None = None,
    split: Split | None = None,
    label: str | None = None,
    q: Annotated[str | None, Query(max_length=1024, description="Part of the text, in any case.")] = None,
    min_importance: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    flag: Annotated[SampleFlag | None, Query(description="That the last clean job found.")] = None,
    order: Literal["ordinal", "importance", "-importance"] = "ordinal",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> SamplePage:
    """Samples that pass the filters, page by page."""
    filters = Filters(
        set=set, split=split, label=label, q=q, min_importance=min_importance, order=order, flag=flag
    )
    return SamplePage.model_validate(list_samples(service.state, dataset, filters, limit, cursor))


@router.get("/{sample_id}")
def get_sample(dataset: DatasetDep, service: ServiceDep, sample_id: str) -> SampleOut:
    """One sample with its score and membership."""
    described = describe(service.state, dataset, [find_sample(service.state, dataset, sample_id)])
    if not described:
        raise NotFound("unknown_sample", f"dataset {dataset.name!r} has no sample {sample_id!r}")
    return SampleOut.model_validate(described[0])


@router.get("/{sample_id}/explanation")
async def get_explanation(
    dataset: DatasetDep,
    service: ServiceDep,
    sample_id: str,
    request: Request,
    attributions: Annotated[
        bool, Query(description="Also ask the dataset's newest trained model what each token says to it.")
    ] = False,
) -> ExplanationOut:
    """Why the sample is where it is. What is not known of it is null or empty."""
    told = await to_thread.run_sync(explain, service.state, service.versions, dataset, sample_id)
    if attributions:
        work = attributed(service.state, service.settings, dataset, told)
        told = await unless_client_leaves(request, work)
    return ExplanationOut.model_validate(told)


@router.delete("/{sample_id}", status_code=204)
def remove_sample(dataset: DatasetDep, service: ServiceDep, sample_id: str) -> None:
    """Deletes one sample with its scores."""
    delete_sample(service.state, dataset, sample_id)


async def _json_rows(request: Request, limit: int) -> list[Decoded]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge("body_too_large", f"a JSON body may have {limit} bytes")
    try:
        samples = msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8), type=_Body).samples
    except msgspec.ValidationError as error:
        message = str(error)
        pointer = "/samples" if "`samples`" in message or "$.samples" in message else "/"
        raise Invalid("invalid_request", message, errors=[{"pointer": pointer, "detail": message}]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("invalid_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Malformed("invalid_json", "the body is nested too deeply") from error
    return [partial(row_from_json, raw) for raw in samples]


async def _add_stream(
    chunks: AsyncIterator[bytes], rows: RowStream, ingest: Ingest, service: Service
) -> None:
    """Stores what has come in whenever it fills a batch, so that memory does not grow with the body."""
    settings = service.settings
    batch: list[Decoded] = []
    held_bytes = 0
    try:
        async for chunk in chunks:
            batch += rows.feed(chunk)
            held_bytes += len(chunk)
            if len(batch) >= settings.ingest_batch_rows or held_bytes >= settings.max_body_bytes:
                await to_thread.run_sync(ingest.add, batch)
                batch, held_bytes = [], 0
        batch += rows.finish()
    except Malformed as error:
        if not ingest.report.received:
            raise
        stored = ingest.report.received - ingest.report.rejected_total
        detail = f"{error.detail}; of the first {ingest.report.received} rows {stored} are stored, none after"
        raise Malformed(error.code, detail, errors=ingest.report.rejected) from error
    await to_thread.run_sync(ingest.add, batch)


def _answer(request: Request, report: IngestReport) -> Response:
    stored = report.created + report.updated + report.unchanged
    for outcome in ("created", "updated", "unchanged"):
        ROWS_INGESTED.labels(outcome).inc(getattr(report, outcome))
    ROWS_INGESTED.labels("rejected").inc(report.rejected_total)
    if not report.received:
        raise Invalid("empty_request", "the request holds no samples")
    counts: dict[str, Any] = msgspec.to_builtins(report)
    if stored == 0:
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
