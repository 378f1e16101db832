"""/v1/datasets/{dataset}/samples"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.dependencies import Cursor, DatasetDep, Limit, ServiceDep
from app.api.explanation_schemas import ExplanationOut
from app.api.leaving import unless_client_leaves
from app.api.metrics import ROWS_INGESTED
from app.api.repeats import IdempotencyKey, answered_once
from app.api.row_bodies import JSON, KINDS, json_rows, media_type, packing_of, rows_answer, take_in
from app.api.schemas import IngestOut, SampleOut, SamplePage
from app.contracts import Split
from app.contracts.flags import SampleFlag
from app.errors import Invalid, NotFound, UnsupportedMedia
from app.ingest.columns import Columns
from app.ingest.formats import RowFormat
from app.ingest.report import IngestReport
from app.ingest.rows import row_from_json
from app.ingest.session import IngestSession
from app.ingest.writing import Ingest, delete_sample
from app.services.datasets import find_sample
from app.services.explanation import attributed, explain
from app.services.samples import Filters, SetFilter, describe, list_samples

router = APIRouter(prefix="/v1/datasets/{dataset}/samples", tags=["samples"])
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
        "split": {
            "enum": ["train", "validation", "test"],
            "description": "Left out: `train`, or where the dataset has a split rule by that.",
        },
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
            "application/vnd.apache.parquet": {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "Columns as in CSV, of text, numbers, true and false, dates.",
                }
            },
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": "Header with `id` and `text`; columns unknown to a sample become `meta`.",
                }
            },
        },
    }
}


def _columns(
    column: Annotated[
        list[str] | None,
        Query(
            max_length=20,
            description="`FIELD:COLUMN`, such as `text:review`: which column of the file holds a field.",
        ),
    ] = None,
    meta: Annotated[
        list[str] | None,
        Query(max_length=1000, description="Columns kept as `meta`; `meta=` for none. Left out: all others."),
    ] = None,
    ids: Annotated[
        Literal["column", "rows"], Query(description="`rows`: ids are row-000001 and so on.")
    ] = "column",
) -> Columns:
    return Columns.read(column or (), meta, numbered=ids == "rows")


ColumnsDep = Annotated[Columns, Depends(_columns)]
Delimiter = Annotated[Literal[",", ";", "\t", "|"], Query(description="Between the cells of CSV.")]


@router.post(
    "",
    response_model=IngestOut,
    responses={207: {"model": IngestOut, "description": "Some rows were rejected; the others are stored."}},
    openapi_extra=_BODY,
)
async def post_samples(
    dataset: DatasetDep,
    service: ServiceDep,
    request: Request,
    columns: ColumnsDep,
    delimiter: Delimiter = ",",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Stores samples by id; good rows are stored though others are rejected. Durable when answered.

    The body may be packed (`Content-Encoding: gzip` or `zstd`). Files whose columns have other names than a
    sample's fields come with `column=FIELD:COLUMN`.
    """
    kind, packing = media_type(request), packing_of(request)
    if kind == JSON:
        _refuse_columns(columns)
    elif kind not in KINDS:
        raise UnsupportedMedia("unsupported_media_type", f"bodies of type {kind!r} are not read here")
    settings = service.settings

    async def store(chunks: AsyncIterator[bytes]) -> Response:
        ingest = Ingest(service.state, settings, dataset)
        if kind == JSON:
            rows = await json_rows(chunks, packing, settings.max_body_bytes, "samples", row_from_json)
            await to_thread.run_sync(ingest.add, rows)
        else:
            form = RowFormat(KINDS[kind], packing, delimiter, columns)
            await take_in(chunks, IngestSession.of(form, ingest, settings))
        _count(ingest.report)
        return rows_answer(request, ingest.report)

    with service.writers.admitted(settings.max_writers):
        return await answered_once(request, service.state.answers, dataset, idempotency_key, store)


def _refuse_columns(columns: Columns) -> None:
    if not columns.plain:
        detail = "columns are of NDJSON, CSV and Parquet; the rows of a JSON body have a sample's own fields"
        raise Invalid("invalid_request", detail)


@router.get("")
def get_samples(
    dataset: DatasetDep,
    service: ServiceDep,
    set: SetFilter | None = None,
    split: Split | None = None,
    label: str | None = None,
    group: str | None = None,
    q: Annotated[str | None, Query(max_length=1024, description="Part of the text, in any case.")] = None,
    min_importance: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    flag: Annotated[SampleFlag | None, Query(description="That the last clean job found.")] = None,
    order: Literal["ordinal", "importance", "-importance"] = "ordinal",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> SamplePage:
    """Samples that pass the filters, page by page."""
    filters = Filters(
        set=set,
        split=split,
        label=label,
        group=group,
        q=q,
        min_importance=min_importance,
        order=order,
        flag=flag,
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


def _count(report: IngestReport) -> None:
    for outcome in ("created", "updated", "unchanged"):
        ROWS_INGESTED.labels(outcome).inc(getattr(report, outcome))
    ROWS_INGESTED.labels("rejected").inc(report.rejected_total)
