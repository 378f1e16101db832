"""/v1/datasets/{dataset}/sets"""

from __future__ import annotations

from typing import Annotated, Literal, cast, get_args

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.answers import json_answer
from app.api.dependencies import Cursor, DatasetDep, Limit, Service, ServiceDep, Version
from app.api.direct import DirectRoute
from app.api.schemas import MemberOut, SetMoves, SetPage, SetVersions
from app.contracts import SetName
from app.errors import Invalid, NotFound
from app.services import exports
from app.services import sets as use
from app.services.samples import SetFilter
from app.services.set_moves import compared, moves

router = APIRouter(prefix="/v1/datasets/{dataset}/sets", tags=["sets"])
_FILES = {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in exports.MEDIA_TYPES.values()}


def _set_name(name: str) -> SetName:
    try:
        return SetName(name)
    except ValueError:
        raise NotFound("unknown_set", f"there is no set {name!r}") from None


@router.get("")
def get_versions(dataset: DatasetDep, service: ServiceDep) -> SetVersions:
    """The versions that are kept, newest first."""
    items = [version.model_dump() for version in service.state.sets.versions(dataset)]
    return SetVersions.model_validate({"items": items})


@router.get("/diff", response_model=SetMoves)
def get_moves(
    dataset: DatasetDep,
    service: ServiceDep,
    older: Annotated[
        int | None, Query(alias="from", ge=1, description="A set version; the one before `to` when left out.")
    ] = None,
    newer: Annotated[
        int | None, Query(alias="to", ge=1, description="A set version; the current one when left out.")
    ] = None,
    from_set: Annotated[SetFilter | None, Query(description="Only those that were there.")] = None,
    to_set: Annotated[SetFilter | None, Query(description="Only those that are there now.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Who moved between two set versions, page by page; and on the first page how many in all."""
    asked = compared(service.state, dataset, older, newer, from_set, to_set)
    return json_answer(moves(service.state, dataset, asked, limit, cursor))


@router.get("/{set_name}", response_model=SetPage)
def get_set(
    dataset: DatasetDep,
    service: ServiceDep,
    set_name: str,
    version: Version = None,
    order: Annotated[use.Order, Query(description="Highest importance first, or lowest.")] = "-importance",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Members page by page; a cursor stays good while newer versions come."""
    found = use.page(
        service.state, dataset, _set_name(set_name), version=version, order=order, limit=limit, cursor=cursor
    )
    return json_answer(found)


@router.get("/{set_name}/export", response_class=StreamingResponse, responses={200: {"content": _FILES}})
def export_set(
    dataset: DatasetDep,
    service: ServiceDep,
    set_name: str,
    format: Annotated[Literal["ndjson", "csv", "parquet"], Query()] = "ndjson",
    version: Version = None,
    include: Annotated[str, Query(description="Comma-separated: text, label, score.")] = "",
) -> StreamingResponse:
    """The whole set as a file, streamed."""
    name, columns = _set_name(set_name), _columns(include)
    held = service.state.sets.version(dataset, version)
    rows = use.export_rows(service.state, dataset, name, held, columns)
    filename = f"{dataset.name}-{name.value}-v{held.version}.{format}"
    return StreamingResponse(
        exports.export(rows, format, columns),
        media_type=exports.MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


@router.get("/{set_name}/{sample_id}")
def get_member(
    dataset: DatasetDep, service: ServiceDep, set_name: str, sample_id: str, version: Version = None
) -> MemberOut:
    """Whether a sample is in the set; 404 for an unknown sample."""
    found = use.member(service.state, dataset, _set_name(set_name), sample_id, version)
    return MemberOut.model_validate(found)


def _columns(include: str) -> frozenset[use.Column]:
    asked = {part.strip() for part in include.split(",") if part.strip()}
    unknown = asked - set(get_args(use.Column))
    if unknown:
        detail = f"include: {', '.join(sorted(unknown))} is none of text, label, score"
        raise Invalid("invalid_request", detail, errors=[{"pointer": "query/include", "detail": detail}])
    return cast("frozenset[use.Column]", frozenset(asked))


# -- a page, by the direct way -------------------------------------------------------------------------------
class _PageQuery(msgspec.Struct):
    """The query of `get_set` as it should be."""

    version: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType = msgspec.UNSET
    order: use.Order = "-importance"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(max_length=1024)] | msgspec.UnsetType = msgspec.UNSET


async def _page(service: Service, request: Request) -> bytes | None:
    asked = request.path_params
    try:
        query = msgspec.convert(dict(request.query_params), _PageQuery, strict=False)
        name = SetName(asked["set_name"])
    except ValueError:  # a msgspec.ValidationError is one, too
        return None

    return await use.page_json(
        service.state,
        asked["dataset"],
        name,
        version=None if query.version is msgspec.UNSET else query.version,
        order=query.order,
        limit=query.limit,
        cursor=None if query.cursor is msgspec.UNSET else query.cursor,
    )


direct = [DirectRoute("GET", f"{router.prefix}/{{set_name}}", _page)]
