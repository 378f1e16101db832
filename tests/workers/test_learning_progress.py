"""What progress says of the learning: a running mean of the loss, the last metric of the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from app.contracts import JobKind, JobState, Progress
from tests.workers.conftest import Bench, Row
from workers.lease import JobLease
from workers.score.pace import WINDOW_STEPS, Pace

MakeRows = Callable[[int], list[Row]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """Every progress that a job leaves."""
    left: list[Progress] = []
    check = JobLease.check

    def note(self: JobLease, progress: Progress | None = None) -> None:
        left.extend([] if progress is None else [progress])
        check(self, progress)

    monkeypatch.setattr(JobLease, "check", note)
    return left


def with_validation(rows: list[Row]) -> list[Row]:
    return [{**row, "split": "validation"} if n % 5 == 0 else row for n, row in enumerate(rows)]


def test_the_loss_is_the_mean_of_the_last_steps_by_samples() -> None:
    pace = Pace(0, 1000)
    assert pace.progress().loss is None
    pace.add(1, 3, 1.0)
    pace.add(2, 1, 5.0)
    assert pace.progress().loss == 2.0
    pace.add(3, 10, math.nan)
    pace.add(4, 10)
    assert pace.progress().loss == 2.0, "a step that trains on nothing says nothing"
    for step in range(5, 5 + WINDOW_STEPS):
        pace.add(step, 8, 0.5)
    assert pace.progress().loss == 0.5
    pace.phase = "another training"
    assert pace.progress().loss is None


def test_the_metric_stays_until_the_next_one() -> None:
    pace = Pace(0, 10)
    pace.judge(None)
    assert pace.progress().metric is None
    pace.judge({"accuracy": 0.5, "loss": 1.0})
    pace.judge(None)
    pace.judge({})
    metric = pace.progress().metric
    assert metric is not None
    assert metric.model_dump() == {"name": "accuracy", "value": 0.5}


@pytest.mark.parametrize("kind", [JobKind.SCORE, JobKind.TRAIN])
def test_a_job_tells_what_it_learns(
    bench: Bench, make_rows: MakeRows, told: list[Progress], kind: JobKind
) -> None:
    bench.dataset(with_validation(make_rows(40)))
    given: dict[str, Any] = {"set": "full"} if kind is JobKind.TRAIN else {}
    job = bench.run(kind=kind, **given)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    steps = [one for one in told if one.phase == "training" and one.samples_per_second is not None]
    losses = [one.loss for one in steps]
    assert len(steps) == 8
    assert all(loss is not None and 0 < loss < 5 for loss in losses)
    assert len(set(losses)) > 1, "it moves"
    accuracies = [epoch["validation"]["accuracy"] for epoch in job.result["epochs"]]
    shown = [None if one.metric is None else (one.metric.name, one.metric.value) for one in steps]
    assert shown == [None] * 3 + [("accuracy", accuracies[0])] * 4 + [("accuracy", accuracies[1])]
    assert job.progress.loss == losses[-1], "the last of both is there when the job has ended"
    assert job.progress.metric == steps[-1].metric


def test_without_validation_there_is_no_metric(
    bench: Bench, make_rows: MakeRows, told: list[Progress]
) -> None:
    bench.dataset(make_rows(16))
    job = bench.run()
    assert {one.metric for one in told} == {None}
    assert job.progress.loss is not None


def test_jobs_that_train_nothing_have_neither(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(8))
    job = bench.run(kind=JobKind.CLEAN)
    assert job.state is JobState.SUCCEEDED, job.error
    assert (job.progress.loss, job.progress.metric) == (None, None)


def test_each_training_of_a_comparison_has_its_own_loss(
    bench: Bench, make_rows: MakeRows, told: list[Progress]
) -> None:
    rows = [{**row, "split": "test"} if n % 4 == 0 else row for n, row in enumerate(make_rows(40))]
    bench.dataset(rows)
    assert bench.run().state is JobState.SUCCEEDED
    told.clear()
    job = bench.run(kind=JobKind.COMPARE, subsets=["core"], seeds=1, max_steps=4)
    assert job.state is JobState.SUCCEEDED, job.error
    by_phase: dict[str, list[float | None]] = {}
    for one in told:
        if one.phase.startswith("training"):
            by_phase.setdefault(one.phase, []).append(one.loss)
    assert len(by_phase) == 3
    for losses in by_phase.values():
        assert losses[0] is None
        assert None not in losses[1:]
