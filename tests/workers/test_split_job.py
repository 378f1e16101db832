"""Jobs that put samples into splits: what they leave, for later samples too, and that they can be killed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.contracts import Dataset, JobKind, JobState
from app.errors import Conflict
from app.services.rebuild import rebuild
from app.services.splits import shown_splits
from app.services.verify import verify
from app.store.content import ENTRY_COLUMNS, entry_of
from app.store.ids import IdStore
from app.store.journal import WriteJournal
from app.store.samples import SampleStore
from app.store.splits import SplitStore
from app.store.state import State
from tests.recovery.keyspace import lose_redis
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import die_after
from workers.runner import run_claimed

SPLIT = JobKind.SPLIT


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.split.pipeline.ORDINALS_A_BATCH", 20)


def rows_of(count: int, *, first: int = 0) -> list[Row]:
    """Two labels, groups of three, a day a sample."""
    return [
        {
            "id": f"s{i:03}",
            "text": f"text {i}",
            "label": ("x", "y")[i % 2],
            "group": f"q{i // 3}",
            "meta": {"timestamp": f"2024-{1 + i // 28:02}-{1 + i % 28:02}"},
        }
        for i in range(first, first + count)
    ]


def stored(state: State, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Every row by id; its entry in Redis is the row's."""
    rows = state.samples.between(dataset, 0, 10**6, ENTRY_COLUMNS)
    assert state.ids.entries(dataset, [row["id"] for row in rows]) == [entry_of(row) for row in rows]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def splits(bench: Bench, dataset: Dataset) -> dict[str, str]:
    return {one: row["split"] for one, row in stored(bench.state, dataset).items()}


def by_group(bench: Bench, dataset: Dataset) -> dict[str, set[str]]:
    sides = defaultdict(set)
    for row in stored(bench.state, dataset).values():
        sides[row["group"]].add(row["split"])
    return sides


def succeed(bench: Bench, **params: Any) -> dict[str, Any]:
    job = bench.run(kind=SPLIT, **params)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def test_stratified(bench: Bench) -> None:
    dataset = bench.dataset(rows_of(100))
    result = succeed(bench, by="stratified", validation=0.2, test=0.1)
    assert result == {"by": "stratified", "splits": {"train": 70, "validation": 20, "test": 10}, "kept": 0}
    rows = stored(bench.state, dataset)
    assert Counter((row["label"], row["split"]) for row in rows.values()) == {
        **{(label, "train"): 35 for label in "xy"},
        **{(label, "validation"): 10 for label in "xy"},
        **{(label, "test"): 5 for label in "xy"},
    }
    assert {row["generation"] for row in rows.values() if row["split"] == "train"} == {0}
    assert {row["generation"] for row in rows.values() if row["split"] != "train"} == {1}


def test_by_group(bench: Bench) -> None:
    dataset = bench.dataset(rows_of(99))
    result = succeed(bench, by="group")
    assert all(len(sides) == 1 for sides in by_group(bench, dataset).values())
    assert abs(result["splits"]["test"] - 9.9) <= 1.5


def test_by_time(bench: Bench) -> None:
    dataset = bench.dataset([*rows_of(100), {"id": "timeless", "text": "t", "label": "x"}])
    result = succeed(bench, by="time", validation=0.2, test=0.1)
    assert result["without_time"] == 1
    found = splits(bench, dataset)
    assert found.pop("timeless") == "train"
    order = [found[one] for one in sorted(found)]
    assert order == sorted(order, key=["train", "validation", "test"].index), "a group goes with its newest"
    assert abs(order.count("test") - 10) <= 1.5
    assert all(len(sides) == 1 for group, sides in by_group(bench, dataset).items() if group)


def test_again_it_changes_nothing(bench: Bench) -> None:
    dataset = bench.dataset(rows_of(60))
    succeed(bench, by="stratified")
    before = stored(bench.state, dataset)
    succeed(bench, by="stratified")
    assert stored(bench.state, dataset) == before


def test_another_seed_moves_samples_until_a_job_has_trained(bench: Bench) -> None:
    dataset = bench.dataset(rows_of(60))
    succeed(bench, by="stratified")
    before = splits(bench, dataset)
    succeed(bench, by="stratified", seed=1)
    assert splits(bench, dataset) != before
    waiting = bench.run(num_train_epochs=1)
    assert shown_splits(bench.state, dataset)["used_by"] == waiting.id
    with pytest.raises(Conflict) as caught:
        bench.queue(kind=SPLIT, by="group")
    assert caught.value.code == "splits_in_use"
    bench.run(num_train_epochs=1)
    assert shown_splits(bench.state, dataset)["used_by"] == waiting.id, "the first one"


def test_a_split_job_that_waited_for_one_that_trains_is_refused(bench: Bench) -> None:
    dataset = bench.dataset(rows_of(60))
    bench.queue(num_train_epochs=1)
    late = bench.queue(kind=SPLIT, by="stratified")
    for _ in range(2):
        run_claimed(bench.state, bench.settings, bench.claim())
    error = bench.state.jobs.get(late.id).error
    assert error is not None
    assert error.code == "splits_in_use"
    assert set(splits(bench, dataset).values()) == {"train"}


class TestLaterSamples:
    def test_a_new_one_gets_its_split_by_the_rule(self, bench: Bench) -> None:
        dataset = bench.dataset(rows_of(60))
        succeed(bench, by="group", test=0.3, validation=0.3)
        bench.send(dataset, rows_of(60, first=60))
        assert all(len(sides) == 1 for sides in by_group(bench, dataset).values())
        found = splits(bench, dataset)
        assert set(list(found.values())[60:]) == {"train", "validation", "test"}
        succeed(bench, by="group", test=0.3, validation=0.3, keep=["validation", "test"])
        assert splits(bench, dataset) == found

    def test_what_arrives_is_where_the_job_would_have_put_it(self, bench: Bench) -> None:
        rows = rows_of(80)
        dataset = bench.dataset(rows[:60])
        succeed(bench, by="stratified", validation=0.3)
        bench.send(dataset, rows[60:])
        found = splits(bench, dataset)
        again = bench.dataset(rows, name="again")
        rule = bench.state.splits.rule(dataset)
        assert rule is not None
        with bench.state.datasets.writing(again):
            bench.state.splits.save_rule(again, rule)
        for row in rows:
            bench.send(again, [dict(row, text="sent again")])
        assert set(splits(bench, again).values()) == {"train"}, "stored before the rule: they keep theirs"
        third = bench.dataset([], name="third")
        bench.state.splits.save_rule(third, rule)
        bench.send(third, list(reversed(rows)))
        assert splits(bench, third) == found

    def test_sent_again_without_a_split_it_keeps_its_own(self, bench: Bench) -> None:
        rows = rows_of(60)
        dataset = bench.dataset(rows)
        succeed(bench, by="stratified", test=0.3, validation=0.3)
        before = stored(bench.state, dataset)
        bench.send(dataset, rows)
        assert stored(bench.state, dataset) == before
        bench.send(dataset, [dict(row, text="new", label="x") for row in rows])
        assert splits(bench, dataset) == {one: row["split"] for one, row in before.items()}

    def test_sent_again_with_a_split_it_goes_there(self, bench: Bench) -> None:
        rows = rows_of(60)
        dataset = bench.dataset(rows)
        succeed(bench, by="stratified", test=0.3)
        bench.send(dataset, [dict(row, split="train") for row in rows])
        assert set(splits(bench, dataset).values()) == {"train"}
        bench.send(dataset, [dict(row, split="test") for row in rows_of(3, first=90)])
        assert Counter(splits(bench, dataset).values()) == {"train": 60, "test": 3}

    def test_without_a_rule_it_is_in_train(self, bench: Bench) -> None:
        dataset = bench.dataset([dict(row, split="test") for row in rows_of(3)])
        bench.send(dataset, rows_of(3))
        assert set(splits(bench, dataset).values()) == {"train"}

    def test_by_time_it_goes_where_its_group_is(self, bench: Bench) -> None:
        dataset = bench.dataset(rows_of(60))
        succeed(bench, by="time")
        late = {"text": "t", "label": "x", "meta": {"timestamp": "2025-01-01"}}
        bench.send(dataset, [{"id": "late", "group": "q0", **late}, {"id": "new", "group": "n", **late}])
        found = splits(bench, dataset)
        assert (found["s000"], found["late"], found["new"]) == ("train", "train", "test")


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (SplitStore, "save_rule", 1),
        (WriteJournal, "begin", 2),
        (SampleStore, "write", 2),
        (IdStore, "commit", 2),
        (WriteJournal, "end", 3),
        (SplitStore, "save_rule", 2),
    ],
)
@pytest.mark.parametrize("by", ["stratified", "time"])
def test_killed_and_repeated_it_ends_the_same(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: int, by: str
) -> None:
    params = {"by": by, "validation": 0.4, "test": 0.2}
    calm = short_lease.dataset(rows_of(100), name="calm")
    job = short_lease.run("calm", kind=SPLIT, **params)
    assert job.state is JobState.SUCCEEDED
    dataset = short_lease.dataset(rows_of(100))
    again = short_lease.queue(kind=SPLIT, **params)
    die_after(short_lease, monkeypatch, owner, name, calls)
    run_claimed(short_lease.state, short_lease.settings, short_lease.claim())
    assert short_lease.state.jobs.get(again.id).result == job.result
    assert stored(short_lease.state, dataset) == stored(short_lease.state, calm)
    rule = short_lease.state.splits.rule(dataset)
    assert rule is not None
    assert rule.applied


def test_it_waits_for_a_writer_who_takes_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.datasets.LOCK_WAIT_SECONDS", 0.05)
    dataset = bench.dataset(rows_of(60))
    job = bench.queue(kind=SPLIT, by="stratified")
    claim = bench.claim()
    with ThreadPoolExecutor(1) as pool:
        with bench.state.datasets.writing(dataset):
            running = pool.submit(run_claimed, bench.state, bench.settings, claim)
            time.sleep(0.5)
        running.result()
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED


def test_cancelled_it_stops(bench: Bench) -> None:
    bench.dataset(rows_of(60))
    job = bench.queue(kind=SPLIT, by="stratified")
    claim = bench.claim()
    bench.state.jobs.cancel(job.id)
    run_claimed(bench.state, bench.settings, claim)
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED


def test_samples_that_come_in_while_it_is_dead(short_lease: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = short_lease.dataset(rows_of(100))
    short_lease.queue(kind=SPLIT, by="time", validation=0.3)
    die_after(short_lease, monkeypatch, SampleStore, "write", 1)
    short_lease.send(dataset, rows_of(50, first=98))
    run_claimed(short_lease.state, short_lease.settings, short_lease.claim())
    assert all(len(sides) == 1 for sides in by_group(short_lease, dataset).values())


def test_no_job_trains_on_splits_that_are_half_applied(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = short_lease.dataset(rows_of(100))
    job = short_lease.queue(kind=SPLIT, by="stratified")
    die_after(short_lease, monkeypatch, SampleStore, "write", 1)
    short_lease.state.jobs.cancel(job.id)
    refused = short_lease.run(num_train_epochs=1)
    assert refused.error is not None
    assert refused.error.code == "split_unfinished"
    assert shown_splits(short_lease.state, dataset)["used_by"] is None
    succeed(short_lease, by="stratified")
    assert short_lease.run(num_train_epochs=1).state is JobState.SUCCEEDED


def test_rebuilt_it_knows_its_rule_and_that_it_is_in_use(bench: Bench) -> None:
    dataset = bench.dataset(rows_of(60))
    succeed(bench, by="stratified")
    bench.run(num_train_epochs=1)
    before = shown_splits(bench.state, dataset)
    assert not list(verify(bench.state, [], lambda _: None))
    lose_redis(bench.state)
    rebuild(bench.state, [], replace=False, report=lambda *_: None)
    assert shown_splits(bench.state, dataset) == before
    assert before["used_by"] is not None
    bench.send(dataset, rows_of(60))
    assert shown_splits(bench.state, dataset) == before
