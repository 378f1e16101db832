"""What /metrics tells: of the queue, of workers, of Redis; and that it answers while Redis does not."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.survey_metrics import WORKER_FIGURES
from app.contracts import Claim, JobKind, JobState, Progress
from app.store.embedded import EmbeddedRedis
from app.store.jobs import new_job_id
from app.store.state import State
from tests.api.asking import Api
from tests.processes import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(api: Api) -> Samples:
    families = text_string_to_metric_families(api.http.get("/metrics").text)
    return {
        (one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples
    }


def value(api: Api, name: str, **labels: str) -> float | None:
    return scraped(api).get((f"gradsift_{name}", frozenset(labels.items())))


def claimed(state: State) -> Claim:
    claim = state.jobs.claim("w-1", 30.0)
    assert claim is not None
    return claim


def queue(api: Api, kind: JobKind) -> None:
    state = api.state
    state.jobs.create(state.datasets.get("d"), kind, "", {}, job_id=new_job_id())


# -- what the page says --------------------------------------------------------------------------------
def test_the_page_lists_every_metric_with_its_labels(api: Api) -> None:
    figures = dict.fromkeys(WORKER_FIGURES, 1.0)
    api.state.worker_figures.leave("w-1", "jobs", figures)
    queue(api, JobKind.SCORE)
    told = Progress(phase="training", samples_per_second=9.0, step_seconds=0.5)
    api.state.jobs.renew(claimed(api.state), 30.0, told)
    api.get("/samples/nothing")
    api.post({"id": "a", "text": "t"})
    exported = {}
    for family in text_string_to_metric_families(api.http.get("/metrics").text):
        if family.name.startswith("gradsift_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for one in family.samples for label in one.labels} - {"le"}
            exported[name] = labels
    rows = re.findall(r"^\| `(gradsift_\w+)` \|([^|]*)\|", PAGE.read_text(encoding="utf-8"), re.M)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == exported


# -- the queue -----------------------------------------------------------------------------------------
def test_what_waits_by_kind_and_since_when(api: Api) -> None:
    assert value(api, "jobs_waiting", kind="score") == 0
    assert value(api, "jobs_oldest_waiting_seconds", kind="score") == 0
    queue(api, JobKind.SCORE)
    queue(api, JobKind.SCORE)
    queue(api, JobKind.SPLIT)
    time.sleep(0.05)
    assert value(api, "jobs_waiting", kind="score") == 2
    assert value(api, "jobs_waiting", kind="split") == 1
    oldest = value(api, "jobs_oldest_waiting_seconds", kind="score")
    assert oldest is not None
    assert 0.05 <= oldest < 30
    assert value(api, "jobs_created_total", kind="score") == 2


def test_a_queue_beyond_the_bound_is_told_by_its_length(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.survey.JOBS_LOOKED_AT", 2)
    for _ in range(5):
        queue(api, JobKind.CLEAN)
    assert value(api, "jobs_waiting", kind="clean") == 2
    assert value(api, "jobs_waiting", kind="uncounted") == 3


def test_attempts_and_ends_are_counted_once_each(api: Api) -> None:
    state = api.state
    for _ in range(2):
        queue(api, JobKind.SPLIT)
    first = claimed(state)
    state.jobs.end(first, JobState.QUEUED, progress=Progress())
    again = claimed(state)
    for _ in range(2):  # a call that is sent again counts once
        state.jobs.end(again, JobState.FAILED, progress=Progress())
    last = claimed(state)
    assert value(api, "jobs_running", kind="split") == 1
    state.jobs.cancel(last.job.id)
    state.jobs.end(last, JobState.QUEUED, progress=Progress())
    assert value(api, "jobs_claimed_total", kind="split") == 3
    assert value(api, "jobs_resumed_total", kind="split") == 1
    assert value(api, "jobs_ended_total", kind="split", state="failed") == 1
    assert value(api, "jobs_ended_total", kind="split", state="cancelled") == 1
    assert value(api, "jobs_ended_total", kind="split", state="succeeded") == 0
    assert value(api, "jobs_running", kind="split") == 0


def test_jobs_of_dead_workers_are_counted_by_whoever_takes_them_back(api: Api) -> None:
    queue(api, JobKind.TRAIN)
    queue(api, JobKind.TRAIN)
    api.state.jobs.cancel(api.state.jobs.ids_before(None, 1)[0][0])
    for most in (2, 2):
        assert api.state.jobs.claim("w", 0.001)
        time.sleep(0.01)
        api.state.jobs.reap(most)
    assert value(api, "jobs_reaped_total") == 2
    assert value(api, "jobs_ended_total", kind="train", state="failed") == 1
    assert value(api, "jobs_ended_total", kind="train", state="cancelled") == 1


# -- workers -------------------------------------------------------------------------------------------
def test_a_running_job_tells_its_pace_and_a_worker_its_figures(api: Api) -> None:
    queue(api, JobKind.SCORE)
    told = Progress(phase="training", samples_per_second=120.5, step_seconds=0.25)
    api.state.jobs.renew(claimed(api.state), 30.0, told)
    api.state.worker_figures.leave("w-1", "jobs", {"resident_bytes": 5e8, "gpu_peak_bytes": 2e9, "odd": 1})
    assert value(api, "job_samples_per_second", kind="score", worker="w-1") == 120.5
    assert value(api, "job_step_seconds", kind="score", worker="w-1") == 0.25
    assert value(api, "worker_resident_bytes", worker="w-1", process="jobs") == 5e8
    assert value(api, "worker_gpu_peak_bytes", worker="w-1", process="jobs") == 2e9
    assert not [name for name, _ in scraped(api) if "odd" in name]


def test_figures_of_a_worker_that_is_gone_vanish(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.worker_figures.leave("w-1", "jobs", {"resident_bytes": 5e8})
    monkeypatch.setattr("app.store.worker_figures.SAID_SECONDS", 0.01)
    time.sleep(0.05)
    assert value(api, "worker_resident_bytes", worker="w-1", process="jobs") is None


def test_what_a_worker_said_long_ago_is_forgotten_by_the_server(api: Api) -> None:
    state = api.state
    key = state.keys.jobs.figures
    state.client.hset(key, mapping={"old jobs": "1000 {}", "future jobs": f"{2**50} {{}}"})
    state.worker_figures.leave("w-1", "jobs", {})
    assert state.client.hkeys(key) == [b"w-1 jobs"]


# -- refusals, rows, Redis, the disk -------------------------------------------------------------------
def test_refusals_and_rows_are_counted_by_what_they_were(api: Api) -> None:
    code = {"code": "unknown_sample", "status": "404"}
    before = value(api, "requests_refused_total", **code) or 0
    created = value(api, "rows_ingested_total", rows="samples", outcome="created") or 0
    rejected = value(api, "rows_ingested_total", rows="samples", outcome="rejected") or 0
    api.get("/samples/nothing")
    api.post({"id": "a", "text": "t"}, {"id": "b"})
    assert value(api, "requests_refused_total", **code) == before + 1
    assert value(api, "rows_ingested_total", rows="samples", outcome="created") == created + 1
    assert value(api, "rows_ingested_total", rows="samples", outcome="rejected") == rejected + 1


def test_redis_and_the_disk(api: Api) -> None:
    names = ("redis_up", "redis_evicts", "redis_aof_enabled", "redis_aof_ok")
    found = {name: value(api, name) for name in names}
    assert found == {"redis_up": 1, "redis_evicts": 0, "redis_aof_enabled": 1, "redis_aof_ok": 1}
    used, free = value(api, "redis_memory_used_bytes"), value(api, "data_free_bytes")
    assert used
    assert used > 100_000
    assert free
    assert free <= (value(api, "data_size_bytes") or 0)


def test_a_request_is_sorted_into_buckets_that_fit(api: Api) -> None:
    api.http.get("/healthz")
    bounds = {
        float(dict(labels)["le"])
        for name, labels in scraped(api)
        if name == "gradsift_request_seconds_bucket" and ("route", "/healthz") in labels
    }
    assert {0.001, 0.01, 0.1, 1.0, 10.0} <= bounds


def test_answers_at_once_while_redis_stands_still_and_is_gone(
    serve: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.surveys.STILL_TRUE_SECONDS", 0.3)
    with EmbeddedRedis(tmp_path / "own") as server:
        api = serve(redis_url=server.url)
        assert value(api, "redis_up") == 1
        assert server.pid is not None
        process = psutil.Process(server.pid)
        process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(0.35)
            spent = []
            for _ in range(5):
                began = time.perf_counter()
                found = scraped(api)
                spent.append(time.perf_counter() - began)
                assert found["gradsift_redis_up", frozenset()] == 0
            assert not [name for name, _ in found if name == "gradsift_jobs_waiting"]
            assert sorted(spent)[2] < 0.5, "nobody waits for Redis, whose own patience is seconds"
        finally:
            process.send_signal(signal.SIGCONT)
        wait_until(lambda: value(api, "redis_up") == 1)
    monkeypatch.undo()
    wait_until(lambda: value(api, "redis_up") == 0)
    assert value(api, "data_free_bytes"), "the disk is told of all the same"
