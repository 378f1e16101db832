"""/v1/datasets/{dataset}: events, items, users/{user}/events"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.api.bulk import Bulk, BulkBody
from app.api.dependencies import DatasetDep, Service, ServiceDep
from app.api.event_schemas import EVENTS_BODY, ITEMS_BODY, BulkOut, EventSummary, ForgottenOut
from app.api.facts import tell
from app.api.repeats import IdempotencyKey, answered_once
from app.api.routes.samples import Delimiter
from app.api.row_bodies import field_column, rows_answer
from app.contracts import Dataset
from app.ingest.event_flags import MOMENTS_A_MINUTE
from app.ingest.event_rows import EVENT_COLUMNS, ITEM_COLUMNS, event_reader, item_reader
from app.ingest.event_writing import EventIngest, ItemIngest
from app.services import events as use
from app.settings import Settings
from app.store.state import State

router = APIRouter(prefix="/v1/datasets/{dataset}", tags=["events"])
_COLUMNS = Query(
    max_length=32, description="FIELD:COLUMN, where a column has a name of its own. May be repeated."
)
EventColumn = Annotated[str, Field(json_schema_extra={"pattern": field_column(EVENT_COLUMNS)})]
ItemColumn = Annotated[str, Field(json_schema_extra={"pattern": field_column(ITEM_COLUMNS)})]
_SOME_REJECTED: dict[int | str, dict[str, Any]] = {
    207: {"model": BulkOut, "description": "Some rows were rejected; the others are stored."}
}


@router.post("/events", response_model=BulkOut, responses=_SOME_REJECTED, openapi_extra=EVENTS_BODY)
async def post_events(
    dataset: DatasetDep,
    service: ServiceDep,
    request: Request,
    column: Annotated[list[EventColumn] | None, _COLUMNS] = None,
    delimiter: Delimiter = ",",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Stores what users did. An event that is there already changes nothing. Durable when answered."""
    body = BulkBody.of(request, service.settings, "events", event_reader(column or ()), delimiter)
    return await _taken_in(request, service, dataset, body, EventIngest, idempotency_key)


@router.post("/items", response_model=BulkOut, responses=_SOME_REJECTED, openapi_extra=ITEMS_BODY)
async def post_items(
    dataset: DatasetDep,
    service: ServiceDep,
    request: Request,
    column: Annotated[list[ItemColumn] | None, _COLUMNS] = None,
    delimiter: Delimiter = ",",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Stores the catalogue's texts by item, in the place of those that came with events."""
    body = BulkBody.of(request, service.settings, "items", item_reader(column or ()), delimiter)
    return await _taken_in(request, service, dataset, body, ItemIngest, idempotency_key)


async def _taken_in(
    request: Request,
    service: Service,
    dataset: Dataset,
    body: BulkBody,
    ingest: Callable[[State, Settings, Dataset], Bulk],
    idempotency_key: str | None,
) -> Response:
    async def store(chunks: AsyncIterator[bytes]) -> Response:
        bulk = await run_in_threadpool(ingest, service.state, service.settings, dataset)
        return rows_answer(request, await body.store(service.stopping.until_cut(chunks), bulk))

    return await answered_once(request, service.state.answers, dataset, idempotency_key, store)


@router.get("/events/summary")
def get_event_summary(
    dataset: DatasetDep,
    service: ServiceDep,
    max_events_per_minute: Annotated[
        int, Query(ge=1, le=100_000, description="As of a label job.")
    ] = MOMENTS_A_MINUTE,
) -> EventSummary:
    """What has come in: counts by behaviour, the time span, repeats and bots, items without a text."""
    return EventSummary.model_validate(use.summary(service.state, dataset, max_events_per_minute))


@router.delete("/users/{user:path}/events")
def delete_user_events(dataset: DatasetDep, service: ServiceDep, user: str, request: Request) -> ForgottenOut:
    """Deletes a user's events and every sample that was made of them, with its scores."""
    found = use.forget_user(service.state, service.settings, dataset, user)
    tell(request, counts={"events": found.events, "samples": found.samples})
    return ForgottenOut(events=found.events, samples=found.samples)
