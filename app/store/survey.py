"""How the whole service does, read from Redis in one round trip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis

from app.store.keys import Keys
from app.store.scripts import script_source
from app.store.worker_figures import read_figures

JOBS_LOOKED_AT = 10_000
"""A longer queue is told by its length alone: a script must not take long."""


@dataclass(frozen=True)
class Waiting:
    """Jobs of one kind in the queue; kind is empty for those beyond `JOBS_LOOKED_AT`."""

    kind: str
    jobs: int
    oldest_seconds: float


@dataclass(frozen=True)
class Running:
    """One job that runs. samples_per_second, step_seconds: None where it has told none."""

    kind: str
    worker: str
    samples_per_second: float | None
    step_seconds: float | None


@dataclass(frozen=True)
class Survey:
    """tally: see `app.store.tally`. figures: by worker and process. memory, persistence, stats: of INFO."""

    workers: int
    predictors: int
    predictions_waiting: int
    hints: int
    waiting: list[Waiting]
    running: list[Running]
    tally: dict[str, int]
    figures: dict[tuple[str, str], dict[str, float]]
    memory: Mapping[str, Any]
    persistence: Mapping[str, Any]
    stats: Mapping[str, Any]


def take_survey(client: redis.Redis, keys: Keys) -> Survey:
    jobs, predictions = keys.jobs, keys.predictions
    pipe = client.pipeline(transaction=False)
    pipe.time()
    pipe.zrange(jobs.workers, 0, -1, withscores=True)
    pipe.zrange(predictions.predictors, 0, -1, withscores=True)
    pipe.llen(predictions.queue)
    pipe.llen(keys.celery_queue)
    source = script_source("jobs_survey")
    pipe.eval(source, 2, jobs.queue, jobs.leases, jobs.record(""), str(JOBS_LOOKED_AT))
    pipe.hgetall(jobs.tally)
    pipe.hgetall(jobs.figures)
    for section in ("memory", "persistence", "stats"):
        pipe.info(section)
    clock, workers, predictors, asked, hints, looked, tally, figures, *info = pipe.execute()
    now_ms = clock[0] * 1000 + clock[1] / 1000
    waiting, running = cast("list[list[Any]]", looked)
    return Survey(
        workers=sum(until > now_ms for _, until in workers),
        predictors=sum(until > now_ms for _, until in predictors),
        predictions_waiting=asked,
        hints=hints,
        waiting=[
            Waiting(kind.decode(), count, max(0.0, now_ms / 1000 - float(since) / 1e6))
            for kind, count, since in waiting
        ],
        running=[_running(*raw) for raw in running if raw[0] is not None],
        tally={name.decode(): int(count) for name, count in tally.items()},
        figures=read_figures(figures, now_ms),
        memory=info[0],
        persistence=info[1],
        stats=info[2],
    )


def _running(kind: bytes, worker: bytes | None, progress: bytes | None) -> Running:
    told = json.loads(progress or b"{}")
    name = (worker or b"").decode()
    return Running(kind.decode(), name, told.get("samples_per_second"), told.get("step_seconds"))
