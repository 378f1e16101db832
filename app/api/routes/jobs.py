"""/v1/jobs"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.context import request_id_of
from app.api.dependencies import Cursor, Limit, ServiceDep
from app.api.job_kinds import JobKinds, job_kinds
from app.api.job_schemas import JobFileOut, JobFiles, JobIn, JobOut, JobPage
from app.api.keys import principal_of
from app.contracts import Job, JobState
from app.contracts.access import JobOrigin
from app.services import jobs as use
from app.services.job_files import job_files, job_report, open_job_file

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
EVENT_SECONDS = 0.25
_JSON = {"application/json": {"schema": {"type": "object"}}}


@router.post("", status_code=202)
def post_job(
    body: JobIn,
    service: ServiceDep,
    request: Request,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> JobOut:
    """Records and queues a job; the same Idempotency-Key with the same request gives the same job."""
    job, _ = use.create_job(
        service.state,
        service.settings,
        service.hint,
        dataset_name=body.dataset,
        kind=body.kind,
        model=body.model,
        params=body.params,
        origin=_origin(request, body.webhook),
        idempotency_key=idempotency_key,
    )
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _shown(job)


@router.get("")
def list_jobs(
    service: ServiceDep,
    dataset: Annotated[str | None, Query(max_length=64)] = None,
    state: JobState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobPage:
    """Jobs, newest first."""
    found = use.list_jobs(service.state, dataset=dataset, job_state=state, limit=limit, cursor=cursor)
    return JobPage(items=[_shown(job) for job in found["items"]], next_cursor=found["next_cursor"])


@router.get("/kinds")
def list_kinds() -> JobKinds:
    """What each kind of job does, and its params as a JSON schema: enough to build a form."""
    return job_kinds()


@router.get("/{job_id}")
def get_job(service: ServiceDep, job_id: str) -> JobOut:
    """The job as it is now."""
    return _shown(service.state.jobs.get(job_id))


@router.get("/{job_id}/files")
def list_job_files(service: ServiceDep, job_id: str) -> JobFiles:
    """The files that a succeeded job left, by name."""
    return JobFiles(items=[JobFileOut.model_validate(file) for file in job_files(service.state, job_id)])


@router.get(
    "/{job_id}/files/{name:path}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
def get_job_file(service: ServiceDep, job_id: str, name: str) -> StreamingResponse:
    """One of them, as it is."""
    size, chunks = open_job_file(service.state, job_id, name)
    file = quote(name.rpartition("/")[2])
    headers = {"Content-Length": str(size), "Content-Disposition": f"attachment; filename*=UTF-8''{file}"}
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


@router.get("/{job_id}/report", response_class=Response, responses={200: {"content": _JSON}})
def get_report(service: ServiceDep, job_id: str) -> Response:
    """What a succeeded job came to: its result, and the samples that stand out."""
    return Response(job_report(service.state, job_id, html=False), media_type="application/json")


@router.get("/{job_id}/report.html", response_class=HTMLResponse)
def get_report_page(service: ServiceDep, job_id: str) -> HTMLResponse:
    """The same as one page with plots, which needs nothing else."""
    return HTMLResponse(job_report(service.state, job_id, html=True))


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(service: ServiceDep, job_id: str) -> JobOut:
    """Asks the job to stop; it does within one training step."""
    return _shown(use.cancel_job(service.state, service.settings, job_id))


def _origin(request: Request, webhook: str | None) -> JobOrigin:
    caller = principal_of(request)
    return JobOrigin(request_id=request_id_of(request), key_id=caller.key_id, webhook=webhook)


def _existing(service: ServiceDep, job_id: str) -> Job:
    """Looked up before the stream begins, so that an unknown job is a 404 and not a broken stream."""
    return service.state.jobs.get(job_id)


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def job_events(
    service: ServiceDep, job_id: str, first: Annotated[Job, Depends(_existing)]
) -> AsyncIterator[ServerSentEvent]:
    """Every state change since the job was sent (`state`) and progress (`progress`); ends with the job.

    Each event carries the whole job. Changes that came and went between two looks are told all the same.
    """
    job, told, progress = first, 0, first.progress
    while True:
        changes = use.state_changes(job)
        if job.state.ended:  # also of a job that waited for its next attempt, whose end is no change more
            told = min(told, len(changes) - 1)
        for then in changes[told:]:
            yield ServerSentEvent(event="state", data=_shown(then))
        if len(changes) == told and job.progress != progress:
            yield ServerSentEvent(event="progress", data=_shown(job))
        if job.state.ended:
            return
        told, progress = len(changes), job.progress
        await anyio.sleep(EVENT_SECONDS)
        job = await to_thread.run_sync(service.state.jobs.get, job_id)


def _shown(job: Job) -> JobOut:
    return JobOut.model_validate(use.shown_job(job))
