"""The FastAPI application."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread
from fastapi import Depends, FastAPI
from starlette.staticfiles import StaticFiles

from app.api.admission import Admission, threads_needed
from app.api.application import Api
from app.api.audit import AuditDeeds, AuditRefusals
from app.api.body_limit import BodyLimit
from app.api.context import RequestContext
from app.api.dependencies import Service
from app.api.direct import DirectRoutes
from app.api.document import KEY_PROBLEMS, PROBLEMS
from app.api.keys import KeyCheck, documented_key
from app.api.metrics import WEBHOOK_CALLS
from app.api.problems import install_problem_handlers
from app.api.routes import (
    access,
    audit,
    cleaning,
    data_map,
    datasets,
    events,
    health,
    jobs,
    predictions,
    review_files,
    reviews,
    samples,
    scores,
    sets,
    splits,
)
from app.api.serving.allocator import give_memory_back
from app.api.traced import Traced
from app.logs import get_logger
from app.queue import make_celery, send_hint
from app.services.audit import audit_job_end, look_after_audit, seal_audit
from app.services.housekeeping import Housekeeper
from app.services.jobs_left import clean_up_ended, sweep
from app.services.key_ring import KeyRing
from app.services.webhook_calls import WebhookCalls
from app.settings import Settings, get_settings
from app.store.connections import TRANSIENT, keeps_append_only_file
from app.store.key_rates import KeyRates
from app.store.lines import LineWatch
from app.store.state import open_state
from app.store.unfinished import finish_all_writes
from app.tracing import start_tracing, stop_tracing
from app.web import pages

SWEEP_SECONDS = 30.0
WEBHOOK_SECONDS = 1.0
AUDIT_SECONDS = 2.0
log = get_logger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service over the stores that the settings name."""
    settings = settings or get_settings()
    start_tracing(settings, "api")
    celery = make_celery(settings)
    service = Service(settings=settings, state=open_state(settings), hint=lambda: send_hint(celery))
    rates = KeyRates(settings.redis_url, service.state.keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = threads_needed(settings)
        await to_thread.run_sync(_warn_without_append_only_file, service)
        gc.collect()
        gc.freeze()  # what start-up made is never garbage: collections after it are short
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_finish_writes, service)
            tasks.start_soon(_keep_queue_moving, service)
            tasks.start_soon(_keep_house, service)
            tasks.start_soon(_call_webhooks, service)
            tasks.start_soon(_keep_audit, service)
            yield
            tasks.cancel_scope.cancel()
        await service.state.exchange.close()
        await service.state.prediction_desk.close()
        await rates.close()
        service.state.close()
        celery.close()
        await to_thread.run_sync(stop_tracing)

    app = Api(
        title="GradSift",
        version="1",
        summary="Which labelled samples matter: core, edge and noise.",
        lifespan=lifespan,
        docs_url=None,  # their pages would load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEMS,
    )
    app.state.service = service
    direct = DirectRoutes(app.answer_ordinarily, [*scores.direct, *sets.direct], service)
    limited = BodyLimit(direct, max_bytes=settings.max_body_bytes)
    audited = AuditDeeds(limited, service.state.audit.desk)
    app.state.admission = admitted = Admission(audited, settings)
    checked = KeyCheck(admitted, KeyRing(service.state, settings), rates)
    app.front = RequestContext(AuditRefusals(checked, service.state.audit.desk, admitted.take_untold))
    if settings.otel_endpoint is not None:
        app.front = Traced(app.front)
    install_problem_handlers(app)
    for routes in (
        *(datasets, cleaning, samples, splits, events),
        *(scores, sets, data_map, reviews, review_files, predictions, jobs, access, audit),
    ):
        app.include_router(routes.router, dependencies=[Depends(documented_key)], responses=KEY_PROBLEMS)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.mount("/ui", StaticFiles(directory=pages.STATIC))
    return app


async def _finish_writes(service: Service) -> None:
    """Makes whole what a process that died has left half written."""
    try:
        await to_thread.run_sync(finish_all_writes, service.state)
    except Exception:  # the next write finishes it as well
        log.exception("batches of writers that died could not be finished")


async def _keep_queue_moving(service: Service) -> None:
    """Takes jobs back from dead workers, hints again where a message was lost, sweeps up after ended jobs."""
    sweep_at, lines = 0.0, LineWatch(service.state.client, service.state.keys.jobs)
    while True:
        try:
            await to_thread.run_sync(_reap, service, lines)
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

    def tidy() -> None:
        housekeeper.round()
        give_memory_back()

    while seconds:
        await anyio.sleep(seconds)
        try:
            await to_thread.run_sync(tidy, abandon_on_cancel=True)
        except TRANSIENT as error:
            log.warning("redis does not answer, housekeeping waits", error=str(error))
        except Exception:  # what one dataset's files do to a round must not end all that follow
            log.exception("a round of housekeeping failed")


async def _keep_audit(service: Service) -> None:
    """Moves the audit log from Redis to files, of several processes one at a time."""
    look_at = 0.0
    while True:
        try:
            await to_thread.run_sync(seal_audit, service.state)
            if time.monotonic() >= look_at:
                await to_thread.run_sync(look_after_audit, service.state, service.settings)
                look_at = time.monotonic() + SWEEP_SECONDS
        except TRANSIENT as error:
            log.warning("redis does not answer, the audit log waits", error=str(error))
        except Exception:  # it waits in Redis meanwhile
            log.exception("the audit log could not be written to files")
        await anyio.sleep(AUDIT_SECONDS)


async def _call_webhooks(service: Service) -> None:
    """Those of jobs that have ended; what this process has begun and not finished another one calls again."""
    calls = WebhookCalls(service.state, service.settings)
    while True:
        try:
            for outcome in await calls.round():
                WEBHOOK_CALLS.labels(outcome).inc()
        except TRANSIENT as error:
            log.warning("redis does not answer, webhooks wait", error=str(error))
        except Exception:  # they are called at another time
            log.exception("webhooks could not be called")
        await anyio.sleep(WEBHOOK_SECONDS)


def _reap(service: Service, lines: LineWatch) -> None:
    store, settings = service.state.jobs, service.settings
    for worker in lines.lost(store.holders()):
        job_id = store.note_death(worker, "its connection to Redis ended")
        log.warning("the worker's connection ended", worker=worker, job_id=job_id)
    longest_gap = settings.lease_seconds / 2 + 2 * settings.reaper_seconds
    for job_id in store.reap(
        settings.max_crashes, lease_seconds=settings.lease_seconds, longest_gap_seconds=longest_gap
    ):
        log.warning("job taken back from a worker that died", job_id=job_id)
        audit_job_end(service.state, job_id)
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
