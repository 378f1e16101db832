"""/v1/datasets/{dataset}/map: what a page draws of a million samples, and what it asks about a selection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.answers import json_answer
from app.api.dependencies import DatasetDep, ServiceDep, Version
from app.api.map_schemas import PointsIn, PointsOut
from app.contracts import Split
from app.errors import Invalid
from app.services.data_map import map_source
from app.services.map_body import MEDIA_TYPE
from app.services.map_selection import matching_ordinals, points
from app.services.samples import Filters, SetFilter

router = APIRouter(prefix="/v1/datasets/{dataset}/map", tags=["map"])
POINTS_AT_MOST = 1_000_000
CHUNK_BYTES = 2**18
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "",
    response_class=StreamingResponse,
    responses={
        200: {"content": {MEDIA_TYPE: _BINARY}},
        304: {"description": "The map is still the one that `If-None-Match` names."},
    },
)
async def get_map(
    dataset: DatasetDep,
    service: ServiceDep,
    request: Request,
    version: Version = None,
    limit: Annotated[
        int, Query(ge=1, le=POINTS_AT_MOST, description="Of more scored samples, as many by a fixed rule.")
    ] = POINTS_AT_MOST,
) -> Response:
    """Every scored sample in columns: confidence, variability, importance, set, label and more.

    A JSON header and little-endian arrays; the documentation has a reader in ten lines.
    """
    source = await to_thread.run_sync(map_source, service.state, dataset, version)
    tag = f'"{source.mark}-{limit}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    body = await to_thread.run_sync(
        service.maps.body, service.state, dataset, source, limit, limiter=service.map_draws
    )
    headers["Content-Length"] = str(len(body))
    return StreamingResponse(_chunks(body), media_type=MEDIA_TYPE, headers=headers)


@router.get(
    "/select",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": _BINARY}}},
)
async def select_points(
    dataset: DatasetDep,
    service: ServiceDep,
    set: SetFilter | None = None,
    split: Split | None = None,
    label: str | None = None,
    group: str | None = None,
    q: Annotated[str | None, Query(max_length=1024, description="Part of the text, in any case.")] = None,
    version: Version = None,
) -> Response:
    """Ordinals of the samples that pass the filters: little-endian uint32, ascending, nothing else."""
    filters = Filters(set=set, split=split, label=label, group=group, q=q)
    found = await to_thread.run_sync(
        matching_ordinals, service.state, dataset, filters, version, limiter=service.map_selections
    )
    return Response(found, media_type="application/octet-stream")


@router.get("/ids", response_model=PointsOut)
def get_points(
    dataset: DatasetDep,
    service: ServiceDep,
    ordinals: Annotated[
        str,
        Query(
            max_length=11_000,
            description="Up to 1,000, separated by commas.",
            json_schema_extra={"pattern": r"^[0-9]{1,10}(,[0-9]{1,10}){0,999}$"},
        ),
    ],
) -> Response:
    """Id, beginning of the text, label and set of a few points."""
    named = ordinals.split(",")
    if len(named) > 1000 or not all(one.isascii() and one.isdigit() and len(one) <= 10 for one in named):
        detail = "ordinals: up to 1,000 numbers, separated by commas"
        raise Invalid("invalid_request", detail, errors=[{"pointer": "query/ordinals", "detail": detail}])
    return json_answer({"items": points(service.state, dataset, [int(one) for one in named])})


@router.post("/ids", response_model=PointsOut)
async def post_points(dataset: DatasetDep, service: ServiceDep, body: PointsIn) -> Response:
    """The same of up to 10,000 points, such as a selection that was brushed."""
    found = await to_thread.run_sync(
        points, service.state, dataset, body.ordinals, limiter=service.map_selections
    )
    return json_answer({"items": found})


async def _chunks(body: bytes) -> AsyncIterator[memoryview]:
    """Of a client that reads slowly no more is copied than one of them."""
    whole = memoryview(body)
    for start in range(0, len(body), CHUNK_BYTES):
        yield whole[start : start + CHUNK_BYTES]


def _tags(sent: str) -> list[str]:
    return [part.strip().removeprefix("W/") for part in sent.split(",")]
