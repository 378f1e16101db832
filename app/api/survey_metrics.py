"""Prometheus metrics of what all parts of the service share: queue, jobs, workers, Redis, disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.api.surveys import Taken
from app.contracts import JobKind, JobState
from app.store import tally
from app.store.survey import Survey

KINDS = tuple(kind.value for kind in JobKind)
ENDED = tuple(state.value for state in JobState if state.ended)
WORKER_FIGURES = {
    "resident_bytes": "Memory of a worker's process that is in RAM.",
    "cpu_seconds": "Processor time that a worker's process has used.",
    "gpu_allocated_bytes": "GPU memory that tensors of a worker hold.",
    "gpu_reserved_bytes": "GPU memory that a worker's allocator holds.",
    "gpu_peak_bytes": "Most GPU memory that tensors of the worker's present or last job have held.",
    "gpu_used_bytes": "Memory in use on the worker's GPU, by whatever process.",
    "gpu_total_bytes": "Memory of the worker's GPU.",
}
"""What workers say of themselves (`workers.figures`); anything else is not exported."""


def shared_metrics(taken: Taken | None) -> bytes:
    """The text of them all; None where nothing is known just now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(_families(taken)))
    return generate_latest(registry)


def _families(taken: Taken | None) -> Iterator[Metric]:
    survey = None if taken is None else taken.survey
    text = "1 while Redis answers; while it does not, what it knows is left out."
    yield _gauge("redis_up", text, survey is not None)
    if taken is not None and taken.room is not None:
        yield _gauge("data_free_bytes", "Room that is left where the data lie.", taken.room[0])
        yield _gauge("data_size_bytes", "Size of the file system where the data lie.", taken.room[1])
    if taken is not None and survey is not None:
        yield _gauge("survey_seconds", "How long it took to gather this from Redis.", taken.seconds)
        yield from _of(survey)


class _Families:
    """What a registry asks."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


Rows = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gradsift_{name}", text, value=value)


def _gauges(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"gradsift_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"gradsift_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _of(survey: Survey) -> Iterator[Metric]:
    yield _gauge("workers", "Workers that are there.", survey.workers)
    yield _gauge("predictors", "Predictors that are there.", survey.predictors)
    yield _gauge("predictions_waiting", "Requests that wait for a predictor.", survey.predictions_waiting)
    yield _gauge("hints_waiting", "Celery messages that no worker has read.", survey.hints)
    yield from _queue(survey)
    yield from _counted(survey.tally)
    yield from _running(survey)
    yield from _worker_figures(survey)
    yield from _redis(survey)


def _queue(survey: Survey) -> Iterator[Metric]:
    waiting = dict.fromkeys(KINDS, (0, 0.0))
    waiting |= {one.kind or "uncounted": (one.jobs, one.oldest_seconds) for one in survey.waiting}
    count = [([kind], float(jobs)) for kind, (jobs, _) in waiting.items()]
    yield _gauges("jobs_waiting", "Jobs in the queue.", ["kind"], count)
    oldest = [([kind], seconds) for kind, (_, seconds) in waiting.items()]
    text = "Since when the oldest job in the queue was sent; 0 where none waits."
    yield _gauges("jobs_oldest_waiting_seconds", text, ["kind"], oldest)
    kinds = [one.kind for one in survey.running]
    running = [([kind], float(kinds.count(kind))) for kind in KINDS]
    yield _gauges("jobs_running", "Jobs that a worker holds.", ["kind"], running)


def _counted(counts: dict[str, int]) -> Iterator[Metric]:
    def by_kind(name: str) -> list[tuple[Sequence[str], float]]:
        return [([kind], counts.get(f"{name} {kind}", 0)) for kind in KINDS]

    yield _counter("jobs_created", "Jobs that were queued.", ["kind"], by_kind(tally.CREATED))
    yield _counter("jobs_claimed", "Attempts that were begun.", ["kind"], by_kind(tally.CLAIMED))
    text = "Attempts that were begun on a job which had been begun before."
    yield _counter("jobs_resumed", text, ["kind"], by_kind(tally.RESUMED))
    ended = [
        ([kind, state], float(counts.get(f"{tally.ENDED} {kind} {state}", 0)))
        for kind in KINDS
        for state in ENDED
    ]
    yield _counter("jobs_ended", "Jobs that ended.", ["kind", "state"], ended)
    for name, key, text in (
        ("jobs_reaped", tally.REAPED, "Jobs taken back from workers that died or stood still."),
        ("leases_lost", tally.LEASES_LOST, "Workers that found their job to be another's."),
        ("writes_refused", tally.WRITES_REFUSED, "Writes of workers that a dataset's fence kept out."),
        ("compactions", tally.COMPACTIONS, "Tables that housekeeping has compacted."),
    ):
        yield _counter(name, text, [], [([], counts.get(key, 0))])


def _running(survey: Survey) -> Iterator[Metric]:
    labels = ["kind", "worker"]
    for name, text in (
        ("samples_per_second", "Samples or rows that a running job gets through."),
        ("step_seconds", "Time of a training step of a running job, over the last 50."),
    ):
        told = [([one.kind, one.worker], getattr(one, name)) for one in survey.running]
        rows = [(values, value) for values, value in told if value is not None]
        yield _gauges(f"job_{name}", text, labels, rows)


def _worker_figures(survey: Survey) -> Iterator[Metric]:
    for name, text in WORKER_FIGURES.items():
        rows = [(key, told[name]) for key, told in sorted(survey.figures.items()) if name in told]
        build = _counter if name == "cpu_seconds" else _gauges
        yield build(f"worker_{name}", text, ["worker", "process"], rows)


def _redis(survey: Survey) -> Iterator[Metric]:
    memory, persistence, stats = survey.memory, survey.persistence, survey.stats
    yield _gauge("redis_memory_used_bytes", "Memory that Redis uses.", memory["used_memory"])
    text = "Most memory that Redis may use; 0 where it has no bound."
    yield _gauge("redis_memory_max_bytes", text, memory["maxmemory"])
    text = "1 where Redis drops keys when its memory is full: it must not."
    yield _gauge("redis_evicts", text, memory["maxmemory_policy"] != "noeviction")
    yield _counter("redis_evicted_keys", "Keys that Redis has dropped.", [], [([], stats["evicted_keys"])])
    enabled = bool(persistence["aof_enabled"])
    yield _gauge("redis_aof_enabled", "1 while the append-only file is on.", enabled)
    text = "1 while the append-only file is written and rewritten without errors."
    states = ("aof_last_write_status", "aof_last_bgrewrite_status")
    yield _gauge("redis_aof_ok", text, all(persistence.get(state, "ok") == "ok" for state in states))
    text = "Syncs of the append-only file that had to wait for one before."
    yield _counter("redis_aof_delayed_fsyncs", text, [], [([], persistence.get("aof_delayed_fsync", 0))])
    text = "Size of the append-only file."
    yield _gauge("redis_aof_bytes", text, persistence.get("aof_current_size", 0))
