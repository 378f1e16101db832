"""/v1/audit"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from app.api.dependencies import ServiceDep
from app.api.keys import principal_of
from app.services.audit import AuditFilter, export_audit

router = APIRouter(prefix="/v1/audit", tags=["audit"])
_NDJSON = {"application/x-ndjson": {"schema": {"type": "string", "description": "One entry a line."}}}


@router.get("", response_class=StreamingResponse, responses={200: {"content": _NDJSON}})
def get_audit(
    service: ServiceDep,
    request: Request,
    since: Annotated[AwareDatetime | None, Query(description="From this time on.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Before this time.")] = None,
    dataset: Annotated[str | None, Query(max_length=200)] = None,
    key: Annotated[str | None, Query(max_length=200, description="Id or name.")] = None,
    action: Annotated[
        str | None, Query(max_length=64, description="Such as `job.create` or `job.*`.")
    ] = None,
) -> StreamingResponse:
    """Who did what to which dataset and job, oldest first, as NDJSON."""
    wanted = AuditFilter(since=since, until=until, dataset=dataset, key=key, action=action)
    lines = export_audit(service.state, wanted, principal_of(request))
    return StreamingResponse(lines, media_type="application/x-ndjson")
