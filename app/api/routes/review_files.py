"""/v1/datasets/{dataset}: verdicts as files, and the way to Label Studio and back"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.api.dependencies import DatasetDep, ServiceDep
from app.api.problems import problem_response
from app.api.review_schemas import AnnotationsOut
from app.contracts import SetName
from app.errors import REMEDIES
from app.services import label_studio
from app.services.exports import MEDIA_TYPES, export_plain
from app.services.review_import import ImportReport, import_annotations
from app.services.review_queue import queued
from app.services.verdict_export import FIELDS, verdicts

router = APIRouter(prefix="/v1/datasets/{dataset}", tags=["reviews"])
JSON, XML = "application/json", "application/xml"
_TEXT = {"schema": {"type": "string"}}
_TASKS = {"schema": {"type": "array", "items": {"type": "object"}}}
_BODY = {"requestBody": {"required": True, "content": {JSON: _TASKS}}}


@router.get(
    "/reviews/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": _TEXT, "text/csv": _TEXT, JSON: _TASKS}}},
)
def export_reviews(
    dataset: DatasetDep,
    service: ServiceDep,
    format: Annotated[
        Literal["ndjson", "csv", "label-studio"],
        Query(description="`label-studio`: annotated tasks, as one JSON array."),
    ] = "ndjson",
) -> StreamingResponse:
    """Every verdict that is in force, as a file, streamed."""
    if format == "label-studio":
        rows = verdicts(service.state, dataset, texts=True)
        tasks = label_studio.verdict_tasks(rows, _names(service, dataset))
        return _file(label_studio.json_array(tasks), JSON, f"{dataset.name}-reviews.json")
    parts = export_plain(verdicts(service.state, dataset), format, FIELDS)
    return _file(parts, MEDIA_TYPES[format], f"{dataset.name}-reviews.{format}")


@router.get(
    "/review-queue/export",
    response_class=StreamingResponse,
    responses={200: {"content": {JSON: _TASKS}}},
)
def export_queue(
    dataset: DatasetDep,
    service: ServiceDep,
    format: Annotated[  # noqa: ARG001  (there is one, which may be named)
        Literal["label-studio"], Query(description="Tasks, as one JSON array.")
    ] = "label-studio",
    set: Annotated[SetName | None, Query(description="Of one set only.")] = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Most tasks.")] = 1000,
) -> StreamingResponse:
    """The first rows of the review queue as tasks to import into Label Studio, with the suggested label."""
    version, rows = queued(service.state, service.versions, dataset, limit, set)
    tasks = label_studio.queue_tasks(rows, _names(service, dataset), version)
    return _file(label_studio.json_array(tasks), JSON, f"{dataset.name}-queue-v{version}.json")


@router.get("/label-studio/config", response_class=Response, responses={200: {"content": {XML: _TEXT}}})
def get_labelling_config(dataset: DatasetDep, service: ServiceDep) -> Response:
    """The labelling configuration for such tasks: the dataset's labels as choices."""
    named = label_studio.choices(service.state, dataset)
    pairs = service.state.samples.has(dataset, "text_pair IS NOT NULL")
    return Response(label_studio.labelling_config(named, pairs=pairs), media_type=XML)


@router.post(
    "/reviews/import",
    response_model=AnnotationsOut,
    responses={207: {"model": AnnotationsOut, "description": "Some tasks were rejected."}},
    openapi_extra=_BODY,
)
async def import_reviews(dataset: DatasetDep, service: ServiceDep, request: Request) -> Response:
    """Records what Label Studio's JSON export says: the chosen label confirms the present one or replaces it.

    The same file twice changes nothing. Bad tasks are reported and do not hold the others up.
    """
    body = await request.body()
    report = await to_thread.run_sync(import_annotations, service.state, dataset, body)
    told = _told(report)
    if report.rejected_total and not report.outcomes.total():
        code = "all_rows_rejected"
        detail = (
            f"none of the {report.received} tasks could be read; the first: {report.rejected[0]['detail']}"
        )
        return problem_response(request, 422, code, detail, REMEDIES[code], report.rejected, told)
    return JSONResponse(told, 207 if report.rejected_total else 200)


def _told(report: ImportReport) -> dict[str, object]:
    outcomes = {name: report.outcomes[name] for name in ("correct", "wrong", "unchanged", "skipped")}
    rejected = {"rejected_total": report.rejected_total, "rejected": report.rejected}
    return {"received": report.received, **outcomes, **rejected}


def _names(service: ServiceDep, dataset: DatasetDep) -> label_studio.ChoiceNames:
    return label_studio.ChoiceNames(label_studio.choices(service.state, dataset))


def _file(parts: Iterator[bytes], kind: str, name: str) -> StreamingResponse:
    return StreamingResponse(
        parts, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
