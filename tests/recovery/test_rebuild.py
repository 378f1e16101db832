"""Redis lost, and made anew from the samples and the archive: to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.contracts import JobState, Task
from app.errors import Conflict, Damaged, NotFound, StaleWorker
from app.ingest.writing import delete_sample
from app.services.datasets import delete_dataset, put_dataset
from app.services.rebuild import rebuild
from app.store.records import Ledger, empty_records
from app.store.state import State
from tests.recovery.keyspace import lose_redis, rebuilt_part
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import Killed, die_after, kill_after
from workers.runner import run_claimed
from workers.score.book import ScoreBook
from workers.score.epoch_visits import EpochVisits
from workers.score.pipeline import ScoreJob

MakeRows = Callable[[int], list[Row]]


def quiet(_what: str, _done: int, _of: int) -> None:
    pass


def assert_rebuilt_alike(state: State) -> None:
    before = rebuilt_part(state)
    lose_redis(state)
    rebuild(state, [], replace=False, report=quiet)
    after = rebuilt_part(state)
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert after[key] == value, key


def scored(bench: Bench, **params: Any) -> None:
    job = bench.run(**params)
    assert job.state is JobState.SUCCEEDED, job.error


def test_a_scored_dataset(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(60)
    bench.dataset(rows)
    scored(bench, num_train_epochs=3)
    before = bench.scores([str(row["id"]) for row in rows])
    assert_rebuilt_alike(bench.state)
    assert bench.scores([str(row["id"]) for row in rows]) == before


def test_attributes_meta_and_all_types_of_labels_come_back(bench: Bench) -> None:
    bench.dataset(
        [
            {"id": "é/".replace("/", "x"), "text": "a", "label": "yes", "weight": 1, "group": 7},
            {"id": "b", "text": "ü", "text_pair": "c", "label": 3, "meta": {"z": 1, "a": 2**70, "f": 1e-9}},
            {"id": "c", "text": "d", "label": 2.5, "split": "test", "meta": {}, "weight": 0.1},
            {"id": "d", "text": "e", "group": "g", "meta": {"ß": None, "t": True}},
        ]
    )
    put_dataset(bench.state, "d", Task.CLASSIFICATION, None, "described")
    put_dataset(bench.state, "empty", Task.RELEVANCE, (0, 1, 2), "nothing in it")
    assert_rebuilt_alike(bench.state)


def test_deleted_changed_and_grown_and_two_runs_of_two_lineages(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(40)
    dataset = bench.dataset(rows)
    scored(bench)
    delete_sample(bench.state, dataset, "s0003")
    bench.send(dataset, [{"id": "s0005", "text": "other words now", "label": 1}])
    bench.send(dataset, [dict(row) | {"id": f"n{row['id']}"} for row in make_rows(30)])
    bench.send(dataset, [{"id": "s0003", "text": "again", "label": 0}])
    scored(bench, seed=1)
    scored(bench, fresh=True, seed=2)
    delete_sample(bench.state, dataset, "ns0029")  # members of three versions, void in each
    bench.send(dataset, [dict(rows[7]) | {"label": 1 - int(rows[7]["label"])}])
    scored(bench, seed=3)
    delete_sample(bench.state, dataset, "s0003")  # the last ordinal: no row shows that it was given
    assert_rebuilt_alike(bench.state)


def test_versions_that_are_no_longer_kept_do_not_come_back(bench: Bench, make_rows: MakeRows) -> None:
    bench.state.sets._versions_kept = 2
    rows = make_rows(16)
    bench.dataset(rows)
    for seed in range(4):
        scored(bench, num_train_epochs=1, seed=seed)
    assert_rebuilt_alike(bench.state)
    assert sorted(bench.state.sets.numbers(bench.state.datasets.get("d"))) == [3, 4]


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (ScoreBook, "flush", 7),
        (EpochVisits, "end_epoch", 1),
        (EpochVisits, "end_epoch", 2),
        (ScoreBook, "close", 1),
        (EpochVisits, "close", 1),
        (ScoreJob, "run", 1),
    ],
    ids=["in epoch 2", "epoch 1 stored", "epoch 2 stored", "scores closed", "run closed", "sets published"],
)
def test_a_job_that_was_killed_and_resumed(
    short_lease: Bench,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    calls: int,
) -> None:
    bench = short_lease
    bench.dataset(make_rows(40))
    job = bench.queue()
    die_after(bench, monkeypatch, owner, method, calls)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert_rebuilt_alike(bench.state)


def test_redis_lost_in_the_middle_of_a_job_that_then_goes_on(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is queued again, resumes from its checkpoint, and counts no visit twice."""
    bench = short_lease
    bench.dataset(make_rows(40))
    job = bench.queue(num_train_epochs=3)
    with monkeypatch.context() as patch:
        kill_after(patch, ScoreBook, "flush", 8)
        with pytest.raises(Killed):
            run_claimed(bench.state, bench.settings, bench.claim())
    lose_redis(bench.state)
    rebuild(bench.state, [], replace=False, report=quiet)
    assert bench.state.jobs.get(job.id).state is JobState.QUEUED
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
    assert {score["visits"] for score in bench.scores([f"s{i:04}" for i in range(40)])} == {3}
    assert_rebuilt_alike(bench.state)


def test_a_cancelled_job_counts_as_far_as_it_went(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    bench.dataset(make_rows(40))
    job = bench.queue(num_train_epochs=50)
    flush = ScoreBook.flush

    def cancelling_flush(book: ScoreBook, step: int) -> None:
        flush(book, step)
        if step == 7:
            bench.state.jobs.cancel(job.id)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreBook, "flush", cancelling_flush)
        patch.setattr("workers.lease.ASK_AGAIN_SECONDS", 0.0)
        run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED
    assert {score["visits"] for score in bench.scores([f"s{i:04}" for i in range(40)])} == {1, 2}
    assert_rebuilt_alike(bench.state)
    scored(bench, num_train_epochs=1)
    assert {score["visits"] for score in bench.scores([f"s{i:04}" for i in range(40)])} == {2, 3}
    assert_rebuilt_alike(bench.state)


@pytest.mark.parametrize(
    ("owner", "method", "calls", "flush_seconds"),
    [(ScoreBook, "flush", 8, 0.0), (EpochVisits, "end_epoch", 1, 1000.0)],
    ids=["Redis ahead of the files", "Redis behind them"],
)
def test_a_job_that_killed_its_workers_counts_up_to_its_last_epoch(
    short_lease: Bench,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    calls: int,
    flush_seconds: float,
) -> None:
    """The next run of the lineage settles what Redis and the files disagree about."""
    bench = short_lease
    changed = {"max_crashes": 1, "flush_seconds": flush_seconds}
    bench.settings = bench.settings.model_copy(update=changed)
    bench.dataset(make_rows(40))
    job = bench.queue(num_train_epochs=3)
    die_after(bench, monkeypatch, owner, method, calls)
    assert bench.state.jobs.get(job.id).state is JobState.FAILED
    scored(bench, num_train_epochs=2)
    assert {score["visits"] for score in bench.scores([f"s{i:04}" for i in range(40)])} == {3}
    bench.state.archive.save_job(job.id)  # as the API does when it takes the job back
    assert_rebuilt_alike(bench.state)


def test_a_worker_of_the_time_before_can_write_nothing(bench: Bench, make_rows: MakeRows) -> None:
    dataset = bench.dataset(make_rows(12))
    scored(bench)
    bench.queue()
    stale = bench.claim()
    bench.state.datasets.take_fence(dataset.uid, stale.token)
    lose_redis(bench.state)
    rebuild(bench.state, [], replace=False, report=quiet)
    ledger = Ledger(stale.token, 2, 1)
    with pytest.raises(StaleWorker):
        bench.state.scores.write_shards(dataset.uid, "lin", ledger, {0: empty_records(1)})


def test_what_redis_holds_is_replaced_only_when_asked_to(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(12))
    scored(bench)
    before = rebuilt_part(bench.state)
    with pytest.raises(Conflict, match="already"):
        rebuild(bench.state, ["d"], replace=False, report=quiet)
    job = bench.queue()
    with pytest.raises(Conflict, match="jobs"):
        rebuild(bench.state, ["d"], replace=True, report=quiet)
    bench.state.jobs.cancel(job.id)
    with pytest.raises(NotFound):
        rebuild(bench.state, ["d", "nobody"], replace=True, report=quiet)
    dataset = bench.state.datasets.get("d")
    keys = bench.state.keys.dataset(dataset.uid)
    bench.state.client.delete(keys.versions)
    rebuild(bench.state, ["d"], replace=True, report=quiet)
    bench.state.client.delete(keys.meta)
    rebuild(bench.state, ["d"], replace=True, report=quiet)
    after = rebuilt_part(bench.state)
    assert {key: after[key] for key in before if job.id not in key and "index" not in key} == {
        key: before[key] for key in before if job.id not in key and "index" not in key
    }


def test_a_damaged_file_is_named_and_the_dataset_stays_hidden(
    bench: Bench, make_rows: MakeRows, tmp_path: Path
) -> None:
    bench.dataset(make_rows(12))
    scored(bench)
    file = next(tmp_path.glob("archive/datasets/*/lineages/*/run-*/epoch-0001-*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    lose_redis(bench.state)
    with pytest.raises(Damaged, match=file.name):
        rebuild(bench.state, [], replace=False, report=quiet)
    assert bench.state.datasets.find("d") is None


def test_a_deleted_dataset_does_not_come_back(bench: Bench, make_rows: MakeRows, tmp_path: Path) -> None:
    dataset = bench.dataset(make_rows(12))
    scored(bench)
    bench.dataset(make_rows(5), name="other")
    delete_dataset(bench.state, bench.settings, dataset)
    assert list(tmp_path.glob("archive/datasets/d-*/*")) == []
    assert_rebuilt_alike(bench.state)
    assert bench.state.datasets.names() == ["other"]
