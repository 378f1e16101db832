"""Label jobs: from events to samples, again and again, killed, cancelled; and a score job on these."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import pytest

from app.contracts import Dataset, Job, JobKind, JobState, Task
from app.ingest import deleting
from app.ingest.event_rows import event_reader
from app.ingest.event_writing import EventIngest
from app.ingest.writing import Ingest
from app.services.datasets import put_dataset, summary
from app.services.events import forget_user
from app.services.jobs import cancel_job
from app.services.jobs_left import clean_up_ended
from app.store.pseudonyms import open_pseudonyms
from tests.workers.conftest import Bench
from workers.label import pipeline
from workers.runner import run_claimed

ALL = {"split": {"validation": 0, "test": 0}, "negatives": "none"}


def event(user: int, item: int, at: int, behavior: str = "buy", **other: Any) -> dict[str, Any]:
    texts = {"item_text": f"text of item {item}"}
    return {"user": f"u{user}", "item": f"i{item}", "behavior": behavior, "timestamp": at} | texts | other


def some_events(users: int = 4, each: int = 12) -> list[dict[str, Any]]:
    """Every user has an item an hour; times of users interleave."""
    return [
        event(user, (user + 3 * at) % 9, 3600 * at + 60 * user, "view" if at % 3 else "buy")
        for user in range(users)
        for at in range(each)
    ]


def send(bench: Bench, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    ingest = EventIngest(bench.state, bench.settings, dataset)
    ingest.add([partial(event_reader().from_json, msgspec.json.encode(row)) for row in rows])
    assert ingest.report.rejected == []


def dataset_of(
    bench: Bench, rows: list[dict[str, Any]], task: Task = Task.RELEVANCE, name: str = "d"
) -> Dataset:
    dataset, _ = put_dataset(bench.state, name, task, None, None)
    send(bench, dataset, rows)
    return dataset


def label(bench: Bench, **params: Any) -> Job:
    job = bench.run(kind=JobKind.LABEL, **params)
    assert job.state is JobState.SUCCEEDED, job.error
    clean_up_ended(bench.state, bench.settings, job.id)
    return job


def samples(bench: Bench, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """By id, as they are stored."""
    columns = ["id", "text", "text_pair", "label", "group", "split", "meta"]
    rows = bench.state.samples.table(dataset).to_table(columns=columns).to_pylist()
    return {row["id"]: row for row in rows}


def test_events_become_samples_and_the_same_ones_again(bench: Bench) -> None:
    dataset = dataset_of(bench, some_events())
    first = label(bench).result
    assert first is not None
    held = samples(bench, dataset)
    assert first["samples"] == {
        "total": len(held),
        "created": len(held),
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
    }
    assert first["events"] == 48
    assert first["left_out"]["without_query_or_history"] == 4  # the first one of each user
    assert sum(first["labels"].values()) == len(held) == sum(first["splits"].values())
    assert first["labels"].keys() == {"0", "1", "4"}
    assert summary(bench.state, dataset).splits == first["splits"]
    again = label(bench).result
    assert again is not None
    assert again["samples"]["unchanged"] == len(held)
    assert samples(bench, dataset) == held


def test_a_score_job_runs_on_them(bench: Bench) -> None:
    dataset_of(bench, some_events())
    label(bench, split={"validation": 0.2, "test": 0.2})
    job = bench.run(num_train_epochs=1)
    assert job.state is JobState.SUCCEEDED, job.error
    assert sum((job.result or {})["sets"].values()) > 10


def test_samples_that_no_longer_follow_go_and_others_stay(bench: Bench) -> None:
    dataset = dataset_of(bench, some_events())
    bench.send(dataset, [{"id": "event:mine", "text": "a client's own", "label": 1}])
    label(bench)
    fewer = label(bench, **ALL).result
    assert fewer is not None
    assert fewer["samples"]["deleted"] > 0
    assert len(samples(bench, dataset)) == fewer["samples"]["total"] + 1
    assert "event:mine" in samples(bench, dataset)


def test_a_killed_job_is_repeated_with_the_same_outcome(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in the middle of writing, and of deleting; events that come meanwhile are not read. What it
    tells is what all its attempts have done."""
    bench = short_lease
    dataset = dataset_of(bench, some_events())
    long = {"session_gap_minutes": 600}
    label(bench)
    undisturbed = label(bench, **long).result
    expected = samples(bench, dataset)
    back = (label(bench).result or {})["samples"]
    assert back["deleted"] > 10
    assert back["created"] > 10
    monkeypatch.setattr(pipeline, "ROWS_A_WRITE", 5)
    monkeypatch.setattr(deleting, "IDS_A_WRITE", 5)
    job = bench.queue(kind=JobKind.LABEL, **long)
    for name, calls in (("store", 2), ("_delete", 3)):
        owner: Any = Ingest if name == "store" else deleting
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying_after(calls, getattr(owner, name)))
            with pytest.raises(Killed):
                run_claimed(bench.state, bench.settings, bench.claim())
        send(bench, dataset, [event(9, 1, 50), event(9, 2, 90_000)])
        requeue(bench, job.id)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert ended.state is JobState.SUCCEEDED, ended.error
    assert ended.result == undisturbed
    assert samples(bench, dataset) == expected


class Killed(BaseException):
    pass


def dying_after(calls: int, call: Any) -> Any:
    left = iter(range(calls))

    def dying(*args: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return call(*args, **named)

    return dying


def requeue(bench: Bench, job_id: str) -> None:
    """What the reaper does when the lease has run out."""
    deadline = time.monotonic() + 20
    while bench.state.jobs.get(job_id).state is not JobState.QUEUED:
        assert time.monotonic() < deadline
        bench.state.jobs.reap(
            9, lease_seconds=bench.settings.lease_seconds, longest_gap_seconds=bench.settings.lease_seconds
        )
        time.sleep(0.1)


def test_cancel_takes_effect_between_two_writes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(bench, some_events())
    monkeypatch.setattr(pipeline, "ROWS_A_WRITE", 5)
    monkeypatch.setattr("workers.lease.ASK_AGAIN_SECONDS", 0.0)
    job = bench.queue(kind=JobKind.LABEL)
    store = Ingest.store

    def cancelling(ingest: Ingest, batch: Any) -> Any:
        outcome = store(ingest, batch)
        cancel_job(bench.state, bench.settings, job.id)
        return outcome

    monkeypatch.setattr(Ingest, "store", cancelling)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED
    assert len(samples(bench, dataset)) == 5


def test_a_forgotten_user_has_no_samples_then_and_later(bench: Bench) -> None:
    dataset = dataset_of(bench, some_events())
    label(bench)
    before = len(samples(bench, dataset))
    found = forget_user(bench.state, bench.settings, dataset, "u1")
    user = open_pseudonyms(bench.settings).user("u1")
    assert found.events == 12
    assert found.samples == before - len(samples(bench, dataset)) > 0
    label(bench)
    assert not any(user in str(row) for row in samples(bench, dataset).values())


def test_queries_make_groups_and_first_texts(bench: Bench) -> None:
    rows = [
        event(0, 1, 100, "view", query="red dress", session="s"),
        event(0, 2, 100, "view", query="red dress", session="s"),
        event(0, 2, 160, "click", query="red dress", session="s"),
        event(0, 2, 200, "buy", session="s"),
        event(0, 3, 200, "view", query="blue", session="s"),
    ]
    dataset = dataset_of(bench, rows)
    label(bench, negatives="impressions", split={"validation": 0, "test": 0})
    held = sorted(samples(bench, dataset).values(), key=lambda row: str(row["text_pair"]))
    assert [(row["text"], row["text_pair"], row["label"]) for row in held] == [
        ("red dress", "text of item 1", "0"),
        ("red dress", "text of item 2", "4"),
    ]
    assert len({row["group"] for row in held}) == 1
    assert held[0]["group"].startswith("red dress @")


def test_behaviours_are_the_labels_of_a_classification(bench: Bench) -> None:
    dataset = dataset_of(bench, some_events(), Task.CLASSIFICATION)
    job = label(bench)
    assert (job.result or {})["labels"].keys() == {"buy", "view", "none"}
    bench.state.datasets.fix_labels(dataset, ("buy", "view"))
    failed = bench.run(kind=JobKind.LABEL)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "unknown_label"
    assert "none" in failed.error.detail


def test_events_that_make_no_sample(bench: Bench) -> None:
    dataset_of(bench, [event(user, 1, 10) for user in range(3)])
    job = bench.run(kind=JobKind.LABEL)
    assert job.error is not None
    assert job.error.code == "no_labelled_events"


def test_it_waits_for_a_writer_who_takes_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.datasets.LOCK_WAIT_SECONDS", 0.05)
    dataset = dataset_of(bench, some_events())
    job = bench.queue(kind=JobKind.LABEL)
    claim = bench.claim()
    with ThreadPoolExecutor(1) as pool:
        with bench.state.datasets.writing(dataset):
            running = pool.submit(run_claimed, bench.state, bench.settings, claim)
            time.sleep(0.5)
        running.result()
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
