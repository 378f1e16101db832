"""Whatever happens to a worker or to Redis on the way, the sums are those of an undisturbed run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.contracts import JobState
from app.errors import StaleWorker
from app.store.records import RECORD, Records, empty_records
from tests.workers.conftest import Bench, Row
from workers.lease import JobLease
from workers.runner import run_claimed
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.pipeline import ScoreJob

MakeRows = Callable[[int], list[Row]]


class Killed(BaseException):
    """Leaves everything as kill -9 leaves it: nothing is caught, nothing is tidied up."""


def kill_after(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: int) -> None:
    """The worker dies right after the nth call of a method."""
    method = getattr(owner, name)
    count = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        answer = method(*args, **kwargs)
        count += 1
        if count == calls:
            raise Killed
        return answer

    monkeypatch.setattr(owner, name, dying)


def die_after(bench: Bench, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: int) -> None:
    """The next job's worker dies right after the nth call of a method; its job is back in the queue."""
    with monkeypatch.context() as patch:
        kill_after(patch, owner, name, calls)
        with pytest.raises(Killed):
            run_claimed(bench.state, bench.settings, bench.claim())
    take_back(bench)


def sums(bench: Bench, dataset: str, count: int) -> Records:
    held = bench.state.datasets.get(dataset)
    assert held.lineage is not None
    records = bench.state.scores.read_all(held.uid, held.lineage, count)
    records["updated_at"] = 0
    return records


def assert_same(found: Records, wanted: Records) -> None:
    """To the bit, field by field; NaN where there is no alignment."""
    for field in RECORD.names or ():
        np.testing.assert_array_equal(found[field], wanted[field], err_msg=field)


def take_back(bench: Bench) -> None:
    deadline = time.monotonic() + 10
    while not bench.state.jobs.reap(bench.settings.max_crashes):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def undisturbed(short_lease: Bench, make_rows: MakeRows) -> Records:
    short_lease.dataset(make_rows(40), name="calm")
    assert short_lease.run("calm", model_config={"hidden_dropout_prob": 0.2}).state is JobState.SUCCEEDED
    return sums(short_lease, "calm", 40)


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (Checkpoints, "save_base", 1),
        (ScoreBook, "flush", 1),
        (ScoreBook, "flush", 7),
        (Checkpoints, "save", 1),
        (ScoreBook, "close", 1),
        (ScoreJob, "run", 1),
    ],
    ids=["base kept", "first flush", "flush in epoch 2", "checkpoint", "scores closed", "sets published"],
)
def test_a_killed_job_ends_with_the_sums_of_an_undisturbed_one(
    short_lease: Bench,
    undisturbed: Records,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    calls: int,
) -> None:
    bench = short_lease
    bench.dataset(make_rows(40))
    job = bench.queue(model_config={"hidden_dropout_prob": 0.2})
    die_after(bench, monkeypatch, owner, method, calls)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert_same(sums(bench, "d", 40), undisturbed)
    assert len(bench.state.sets.versions(bench.state.datasets.get("d"))) == 1


def test_a_killed_second_run_of_a_lineage_counts_no_visit_twice(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    for name in ("calm", "d"):
        bench.dataset(make_rows(24), name=name)
        bench.run(name)
    bench.run("calm", seed=1)
    bench.settings = bench.settings.model_copy(update={"checkpoint_seconds": 3600.0})
    bench.queue("d", seed=1)
    with monkeypatch.context() as patch:
        kill_after(patch, ScoreBook, "flush", 4)
        with pytest.raises(Killed):
            run_claimed(bench.state, bench.settings, bench.claim())
    take_back(bench)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert set(sums(bench, "d", 24)["visits"]) == {4}
    assert_same(sums(bench, "d", 24), sums(bench, "calm", 24))


def test_shards_that_redis_lost_meanwhile_are_there_at_the_end(
    short_lease: Bench, undisturbed: Records, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    dataset = bench.dataset(make_rows(40))
    flush = ScoreBook.flush

    def losing_flush(book: ScoreBook, step: int) -> None:
        flush(book, step)
        lineage = bench.state.datasets.get("d").lineage
        assert lineage is not None
        bench.state.client.delete(bench.state.keys.dataset(dataset.uid).shard(lineage, 0))

    monkeypatch.setattr(ScoreBook, "flush", losing_flush)
    assert bench.run(model_config={"hidden_dropout_prob": 0.2}).state is JobState.SUCCEEDED
    assert_same(sums(bench, "d", 40), undisturbed)


def test_a_worker_that_was_replaced_can_write_nothing(short_lease: Bench, make_rows: MakeRows) -> None:
    bench = short_lease
    bench.dataset(make_rows(12))
    bench.queue()
    stale = bench.claim("old")
    bench.state.datasets.take_fence(stale.dataset_uid, stale.token)
    take_back(bench)
    fresh = bench.claim("new")
    bench.state.datasets.take_fence(fresh.dataset_uid, fresh.token)
    book = ScoreBook(
        bench.state,
        dataset_uid=stale.dataset_uid,
        lineage="lin",
        fence=stale.token,
        run=1,
        records=empty_records(12),
        hold=lambda: bench.state.datasets.take_fence(stale.dataset_uid, stale.token),
    )
    book.touch([0])
    with pytest.raises(StaleWorker):
        book.close()
    with pytest.raises(StaleWorker):
        bench.state.datasets.take_fence(stale.dataset_uid, stale.token)
    with JobLease(stale, bench.state.jobs, bench.settings) as lease, pytest.raises(StaleWorker):
        lease.check()
    assert bench.state.jobs.get(fresh.job.id).attempt == 2


def test_a_job_that_kills_every_worker_fails_at_last(short_lease: Bench, make_rows: MakeRows) -> None:
    bench = short_lease
    bench.dataset(make_rows(12))
    job = bench.queue()
    for _ in range(bench.settings.max_crashes):
        bench.claim()
        take_back(bench)
    ended = bench.state.jobs.get(job.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.code == "worker_lost"
    assert bench.state.jobs.claim("w", 1.0) is None


def test_cancel_takes_effect_within_a_step(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    bench.dataset(make_rows(40))
    job = bench.queue(num_train_epochs=50)
    flush, steps = ScoreBook.flush, []

    def cancelling_flush(book: ScoreBook, step: int) -> None:
        flush(book, step)
        steps.append(step)
        if step == 3:
            bench.state.jobs.cancel(job.id)
            time.sleep(0.06)  # as long as a real step takes

    monkeypatch.setattr(ScoreBook, "flush", cancelling_flush)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED
    assert steps[-1] <= 4


def test_a_draining_worker_gives_the_job_back_and_the_next_one_resumes(
    short_lease: Bench, undisturbed: Records, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    bench.settings = bench.settings.model_copy(update={"checkpoint_seconds": 3600.0})
    bench.dataset(make_rows(40))
    job = bench.queue(model_config={"hidden_dropout_prob": 0.2})
    flush = ScoreBook.flush

    def draining_flush(book: ScoreBook, step: int) -> None:
        flush(book, step)
        bench.state.jobs.drain("first")
        time.sleep(0.06)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreBook, "flush", draining_flush)
        assert run_claimed(bench.state, bench.settings, bench.claim("first")) is False
    assert bench.state.jobs.get(job.id).state is JobState.QUEUED
    run_claimed(bench.state, bench.settings, bench.claim("second"))
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
    assert_same(sums(bench, "d", 40), undisturbed)
