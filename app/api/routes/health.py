"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import Service, ServiceDep
from app.api.metrics import JOBS_WAITING, PREDICTIONS_WAITING, PREDICTORS, WORKERS
from app.api.schemas import Health, Readiness
from app.store.connections import TRANSIENT, answers
from app.store.locations import writable

router = APIRouter(tags=["service"])


@router.get("/healthz")
def healthz() -> Health:
    """The process lives."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(service: ServiceDep, response: Response) -> Readiness:
    """Redis, the sample store and a worker answer."""
    found = _readiness(service)
    if service.stopping.draining:
        found.status = "not ready"
    response.status_code = 200 if found.status == "ready" else 503
    return found


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: ServiceDep) -> Response:
    """Prometheus metrics."""
    try:
        JOBS_WAITING.set(service.state.jobs.waiting())
        WORKERS.set(service.state.jobs.present.count())
        PREDICTIONS_WAITING.set(service.state.predictions.waiting())
        PREDICTORS.set(service.state.predictions.present.count())
    except TRANSIENT:
        WORKERS.set(0)
        PREDICTORS.set(0)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _readiness(service: Service) -> Readiness:
    redis = answers(service.state.client)
    samples = writable(service.settings.data_url)
    worker = redis and service.state.jobs.present.count() > 0
    ready = redis and samples and worker
    return Readiness(status="ready" if ready else "not ready", redis=redis, samples=samples, worker=worker)
