"""A worker that is to stop gives its job back in the middle of a phase without checks, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.contracts import JobKind, JobState
from app.errors import StaleWorker
from app.settings import Settings
from app.store.state import State
from tests.processes import wait_until
from tests.workers.conftest import Bench, Row
from workers import lease as module
from workers import runner
from workers.lease import JobInterrupted, JobLease

MakeRows = Callable[[int], list[Row]]


def test_a_long_phase_does_not_keep_the_job(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    bench.settings = bench.settings.model_copy(update={"heartbeat_seconds": 0.1})
    bench.dataset(make_rows(24))
    job = bench.queue()
    jobs = bench.state.jobs
    claim = bench.claim("leaving")
    with JobLease(claim, jobs, bench.settings) as lease:
        lease.check()
        jobs.drain("leaving")
        wait_until(lambda: jobs.get(job.id).state is JobState.QUEUED)
        other = jobs.claim("other", 30.0)  # while the first still computes
        assert other is not None
        assert other.job.id == job.id
        with pytest.raises(JobInterrupted):
            lease.check()
        with pytest.raises(StaleWorker):
            lease.hold()
    assert jobs.get(job.id).state is JobState.RUNNING, "the other's, by now"


def test_a_worker_that_has_given_its_job_back_claims_no_other(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    bench.settings = bench.settings.model_copy(update={"heartbeat_seconds": 0.1})
    bench.dataset(make_rows(24))
    job = bench.queue()
    claim = bench.claim("leaving")

    class Long:
        def __init__(self, _state: State, _settings: Settings, lease: JobLease) -> None:
            self._lease = lease

        def run(self) -> dict[str, Any]:
            bench.state.jobs.drain("leaving")
            wait_until(lambda: bench.state.jobs.get(job.id).state is JobState.QUEUED)
            self._lease.check()
            return {}

    monkeypatch.setitem(runner.JOBS, JobKind.SCORE, Long)
    assert runner.run_claimed(bench.state, bench.settings, claim) is False
    assert bench.state.jobs.get(job.id).state is JobState.QUEUED
    assert bench.state.jobs.get(job.id).error is None
