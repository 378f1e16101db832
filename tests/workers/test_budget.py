"""`max_minutes`: what a job comes to when its time is spent, all attempts together."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.contracts import Job, JobKind, JobState, Progress
from app.services.verify import verify
from app.services.verify.findings import Finding
from models.training import FittingRun
from tests.workers.conftest import Bench, short_reviews
from tests.workers.test_grow_job import grow
from tests.workers.test_resume import Killed, die_after, kill_after, take_back
from tests.workers.test_robust_sets import reviews_with_slips
from tests.workers.test_train_job import with_test
from workers.lease import JobLease
from workers.runner import run_claimed
from workers.score.training import ScoreTraining

MINUTES = 100.0


def spend_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """An hour and more passes at this step of what the budget is for."""
    step, taken = JobLease.step, 0

    def slow(lease: JobLease, progress: Progress | None = None, *, preparing: bool = False) -> None:
        nonlocal taken
        taken += not preparing
        if taken == steps:
            lease._began -= 60 * MINUTES
        step(lease, progress, preparing=preparing)

    monkeypatch.setattr(JobLease, "step", slow)


def spent(bench: Bench, monkeypatch: pytest.MonkeyPatch, steps: int, **asked: Any) -> Job:
    with monkeypatch.context() as patch:
        spend_after(patch, steps)
        return bench.run(**{"max_minutes": MINUTES} | asked)


def failed(job: Job) -> bool:
    assert job.error is None or job.error.remedy
    return job.state is JobState.FAILED and job.error is not None and job.error.code == "budget_exceeded"


def findings(bench: Bench) -> list[Finding]:
    return list(verify(bench.state, ["d"], lambda *_: None))


def visits(bench: Bench, count: int) -> list[int]:
    found = [score["visits"] for score in bench.scores([f"s{i:04}" for i in range(count)])]
    assert findings(bench) == []
    return found


# -- score -------------------------------------------------------------------------------------------------
def test_a_score_job_sorts_what_it_has_scored_once_each_sample_was_visited(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(short_reviews(40))
    job = spent(bench, monkeypatch, 1 + 5 + 2, num_train_epochs=4)
    assert job.state is JobState.SUCCEEDED, job.error
    result = job.result or {}
    assert (result["stopped_by"], result["steps"], len(result["epochs"])) == ("max_minutes", 7, 1)
    assert sum(result["sets"].values()) == 40
    assert sorted(visits(bench, 40)) == [1] * 24 + [2] * 16


def test_visits_count_though_the_first_epoch_did_not_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(short_reviews(40))
    job = spent(bench, monkeypatch, 1 + 3)
    assert failed(job)
    assert "100 minutes" in str(job.error)
    dataset = bench.state.datasets.get("d")
    assert dataset.set_version == 0
    assert findings(bench) == []
    again = bench.run()
    assert again.state is JobState.SUCCEEDED
    assert sorted(visits(bench, 40)) == [2] * 16 + [3] * 24


def test_several_runs_need_two_that_can_be_compared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.dataset(short_reviews(40))
    assert failed(spent(bench, monkeypatch, 17, seeds=4))
    job = spent(bench, monkeypatch, 27, seeds=4)
    assert job.result is not None
    assert (job.result["stability"]["runs"], job.result["stopped_by"]) == (2, "max_minutes")


# -- a new attempt gets no new budget ----------------------------------------------------------------------
def test_all_attempts_together(short_lease: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = short_lease
    bench.dataset(short_reviews(40))
    job = bench.queue(max_minutes=MINUTES)
    claim = bench.claim()
    assert claim.ran_seconds == 0
    assert bench.state.jobs.renew(claim, 30, None, 60 * MINUTES / 2) == "ok"
    assert bench.state.jobs.renew(claim, 30, None, 3.0) == "ok", "a late renewal of an earlier moment"
    bench.state.jobs.end(claim, JobState.QUEUED, progress=Progress())
    time.sleep(0.2)  # the queue costs nothing
    with monkeypatch.context() as patch:
        kill_after(patch, JobLease, "step", 4)
        claim = bench.claim()
        assert claim.ran_seconds == 60 * MINUTES / 2
        with pytest.raises(Killed):
            run_claimed(bench.state, bench.settings, claim)
    take_back(bench)
    claim = bench.claim()
    assert 60 * MINUTES / 2 < claim.ran_seconds < 60 * MINUTES / 2 + 30
    spent_by_now = claim.model_copy(update={"ran_seconds": 60 * MINUTES})
    run_claimed(bench.state, bench.settings, spent_by_now)
    assert failed(bench.state.jobs.get(job.id))


def test_a_worker_that_dies_over_what_came_of_a_spent_job_costs_nothing(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    bench.dataset(short_reviews(40))
    job = bench.queue(num_train_epochs=4, max_minutes=MINUTES)
    with monkeypatch.context() as patch:
        spend_after(patch, 8)
        die_after(bench, patch, ScoreTraining, "go", 1)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert (ended.result or {})["stopped_by"] == "max_minutes"
    assert sorted(visits(bench, 40)) == [1] * 24 + [2] * 16


# -- the other kinds ---------------------------------------------------------------------------------------
@pytest.mark.reports
def test_a_train_job_keeps_the_model_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.dataset(short_reviews(40))
    job = spent(bench, monkeypatch, 1 + 3, kind=JobKind.TRAIN, set="full")
    assert job.state is JobState.SUCCEEDED, job.error
    result = job.result or {}
    assert (result["stopped_by"], result["steps"], result["epochs"]) == ("max_minutes", 3, [])
    assert "model/model.safetensors" in result["files"]
    assert failed(spent(bench, monkeypatch, 1, kind=JobKind.TRAIN, set="full")), "no step was taken"


def test_a_train_job_keeps_the_best_model_where_that_is_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(short_reviews(80))
    kept: list[bool] = []
    stop = FittingRun.stop

    def noting(run: FittingRun) -> None:
        stop(run)
        best = run._best or {}
        kept.append(
            bool(best) and all(bool((one == best[k]).all()) for k, one in run.model.state_dict().items())
        )

    monkeypatch.setattr(FittingRun, "stop", noting)
    job = spent(
        bench,
        monkeypatch,
        1 + 9 + 2,
        kind=JobKind.TRAIN,
        set="full",
        load_best_model_at_end=True,
        validation_fraction=0.1,
    )
    assert (job.result or {})["stopped_by"] == "max_minutes"
    assert kept == [True]


def test_a_comparison_is_of_the_seeds_that_all_subsets_have(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(with_test(reviews_with_slips(), 60))
    bench.run(num_train_epochs=1)
    asked = {"kind": JobKind.COMPARE, "seeds": 3, "max_steps": 4, "num_train_epochs": 1}
    job = spent(bench, monkeypatch, 3 * 5 + 7, **asked)
    assert job.state is JobState.SUCCEEDED, job.error
    result = job.result or {}
    assert [len(one["runs"]) for one in result["subsets"]] == [1, 1, 1]
    assert (result["stopped_by"], result["steps"]) == ("max_minutes", 12)
    assert failed(spent(bench, monkeypatch, 7, **asked)), "not all subsets have a model"


def test_a_grow_job_keeps_the_rounds_that_have_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.dataset(reviews_with_slips())
    whole = grow(bench, max_rounds=2, round_patience=9).result or {}
    assert whole["stopped_by"] is None
    with monkeypatch.context() as patch:
        spend_after(patch, whole["steps"] - 5)
        job = grow(bench, max_rounds=2, round_patience=9, max_minutes=MINUTES)
    assert job.state is JobState.SUCCEEDED, job.error
    result = job.result or {}
    assert (len(result["rounds"]), result["stopped"], result["stopped_by"]) == (1, "minutes", "max_minutes")
    assert bench.state.datasets.get("d").set_version == result["set_version"]
    assert findings(bench) == []
    with monkeypatch.context() as patch:
        spend_after(patch, 3)
        assert failed(grow(bench, max_minutes=MINUTES)), "no round has ended"
    assert findings(bench) == []


@pytest.mark.parametrize(
    ("kind", "params"), [(JobKind.SPLIT, {"by": "stratified"}), (JobKind.CLEAN, {})], ids=str
)
def test_kinds_that_train_nothing_stop_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: JobKind, params: dict[str, Any]
) -> None:
    bench.dataset(short_reviews(40))
    assert failed(spent(bench, monkeypatch, 2, kind=kind, **params))
    assert bench.run(kind=kind, max_minutes=MINUTES, **params).state is JobState.SUCCEEDED
