"""/v1/audit"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BeforeValidator

from app.api.dependencies import ServiceDep
from app.api.keys import principal_of
from app.services.audit import AuditFilter, export_audit

router = APIRouter(prefix="/v1/audit", tags=["audit"])
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*")
_NDJSON = {"application/x-ndjson": {"schema": {"type": "string", "description": "One entry a line."}}}


def _text(value: object) -> object:
    """Numbers would be taken for seconds since 1970."""
    if isinstance(value, str) and not _RFC3339.fullmatch(value):
        raise ValueError("RFC 3339 with a time zone, such as 2026-11-29T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_text)]


@router.get("", response_class=StreamingResponse, responses={200: {"content": _NDJSON}})
def get_audit(
    service: ServiceDep,
    request: Request,
    since: Annotated[Moment | None, Query(description="From this time on.")] = None,
    until: Annotated[Moment | None, Query(description="Before this time.")] = None,
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
