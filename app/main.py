"""The FastAPI application."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread
from fastapi import Depends, FastAPI

from app.api.application import PROBLEMS, Api
from app.api.body_limit import BodyLimit
from app.api.context import RequestContext
from app.api.dependencies import Service
from app.api.direct import DirectRoutes
from app.api.keys import KeyCheck, documented_key
from app.api.metrics import JOBS_REAPED
from app.api.problems import install_problem_handlers
from app.api.routes import (
    cleaning,
    data_map,
    datasets,
    events,
    health,
    jobs,
    predictions,
    reviews,
    samples,
    scores,
    sets,
    splits,
)
from app.logs import get_logger
from app.queue import make_celery, send_hint
from app.services.housekeeping import Housekeeper
from app.services.jobs_left import clean_up_ended, sweep
from app.settings import Settings, get_settings
from app.store.connections import TRANSIENT, keeps_append_only_file
from app.store.state import open_state
from app.store.unfinished import finish_all_writes
from app.web import pages
from app.web.pages import PageFiles

SWEEP_SECONDS = 30.0
log = get_logger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service over the stores that the settings name."""
    settings = settings or get_settings()
    celery = make_celery(settings)
    service = Service(settings=settings, state=open_state(settings), hint=lambda: send_hint(celery))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(_warn_without_append_only_file, service)
        gc.collect()
        gc.freeze()  # what start-up made is never garbage: collections after it are short
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_finish_writes, service)
            tasks.start_soon(_keep_queue_moving, service)
            tasks.start_soon(_keep_house, service)
            yield
            tasks.cancel_scope.cancel()
        await service.state.exchange.close()
        await service.state.prediction_desk.close()
        service.state.close()
        celery.close()

    app = Api(
        title="GradSift",
        version="1",
        summary="Which labelled samples matter: core, edge and noise.",
        lifespan=lifespan,
        responses=PROBLEMS,
    )
    app.state.service = service
    direct = DirectRoutes(app.answer_ordinarily, [*scores.direct, *sets.direct], service)
    limited = BodyLimit(direct, max_bytes=settings.max_body_bytes)
    app.front = RequestContext(KeyCheck(limited, keys=settings.keys()))
    install_problem_handlers(app)
    for routes in (
        *(datasets, cleaning, samples, splits, events),
        *(scores, sets, data_map, reviews, predictions, jobs),
    ):
        app.include_router(routes.router, dependencies=[Depends(documented_key)])
    app.include_router(health.router)
    app.include_router(pages.router)
    app.mount("/ui", PageFiles())
    return app


async def _finish_writes(service: Service) -> None:
    """Makes whole what a process that died has left half written."""
    try:
        await to_thread.run_sync(finish_all_writes, service.state)
    except Exception:  # the next write finishes it as well
        log.exception("batches of writers that died could not be finished")


async def _keep_queue_moving(service: Service) -> None:
    """Takes jobs back from dead workers, hints again where a message was lost, sweeps up after ended jobs."""
    sweep_at = 0.0
    while True:
        try:
            await to_thread.run_sync(_reap, service)
            if time.monotonic() >= sweep_at:
                await to_thread.run_sync(sweep, service.state, service.settings)
                sweep_at = time.monotonic() + SWEEP_SECONDS
        except TRANSIENT as error:
            log.warning("redis does not answer, the queue waits", error=str(error))
        except Exception:  # a full disk under Redis, say: the loop must outlive what it cannot mend
            log.exception("the queue could not be looked after")
        await anyio.sleep(service.settings.reaper_seconds)


async def _keep_house(service: Service) -> None:
    """Rounds of housekeeping, never two at once; one that is under way when the service stops is left."""
    seconds = service.settings.housekeeping_seconds
    housekeeper = Housekeeper(service.state, service.settings)
    while seconds:
        await anyio.sleep(seconds)
        try:
            await to_thread.run_sync(housekeeper.round, abandon_on_cancel=True)
        except TRANSIENT as error:
            log.warning("redis does not answer, housekeeping waits", error=str(error))
        except Exception:  # what one dataset's files do to a round must not end all that follow
            log.exception("a round of housekeeping failed")


def _reap(service: Service) -> None:
    store, settings = service.state.jobs, service.settings
    longest_gap = settings.lease_seconds / 2 + 2 * settings.reaper_seconds
    for job_id in store.reap(
        settings.max_crashes, lease_seconds=settings.lease_seconds, longest_gap_seconds=longest_gap
    ):
        JOBS_REAPED.inc()
        log.warning("job taken back from a worker that died", job_id=job_id)
        clean_up_ended(service.state, settings, job_id)
    if store.waiting() and not store.hints():
        service.hint()


def _warn_without_append_only_file(service: Service) -> None:
    try:
        kept = keeps_append_only_file(service.state.client)
    except TRANSIENT:
        return  # readiness says so
    if not kept:
        log.warning(
            "redis keeps no append-only file: a restart of it loses scores", remedy="set appendonly yes"
        )
