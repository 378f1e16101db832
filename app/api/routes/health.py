"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import Service, ServiceDep
from app.api.schemas import Health, Readiness
from app.api.survey_metrics import shared_metrics
from app.store.connections import answers
from app.store.locations import writable

router = APIRouter(tags=["service"])


@router.get("/healthz")
def healthz() -> Health:
    """The process lives."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(
    service: ServiceDep,
    response: Response,
    worker: Annotated[bool, Query(description="Whether a worker must be there, too.")] = True,
) -> Readiness:
    """Redis, the sample store and a worker answer."""
    found = _readiness(service, needs_worker=worker)
    if service.stopping.draining:
        found.status = "not ready"
    response.status_code = 200 if found.status == "ready" else 503
    return found


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: ServiceDep) -> Response:
    """Prometheus metrics."""
    shared = shared_metrics(await service.surveys.newest())
    return Response(generate_latest() + shared, media_type=CONTENT_TYPE_LATEST)


def _readiness(service: Service, *, needs_worker: bool) -> Readiness:
    redis = answers(service.state.client)
    samples = writable(service.settings.data_url)
    worker = redis and service.state.jobs.present.count() > 0
    ready = redis and samples and (worker or not needs_worker)
    return Readiness(status="ready" if ready else "not ready", redis=redis, samples=samples, worker=worker)
