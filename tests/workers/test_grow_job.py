"""`grow` in a whole job: rounds, their set versions, what stops them, and going on after any kill."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from app.contracts import CODE_BY_SET, Job, JobKind, JobState, SetName, SetVersion, Verdict
from app.services.reviews import add_review
from app.services.verify import verify
from models.training import ScoringRun
from tests.workers.conftest import Bench
from tests.workers.test_resume import assert_same, die_after, sums
from tests.workers.test_robust_sets import COUNT, reviews_with_slips, wrong_ids
from tests.workers.test_waiting import full_disk
from workers.grow.grown import GROWN
from workers.grow.rounds import Rounds
from workers.lease import JobCancelled, JobInterrupted
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.groundwork import Groundwork
from workers.score.teaching import TAUGHT, Teaching

GROW = {"num_train_epochs": 2, "initial_fraction": 0.2, "max_rounds": 3, "round_patience": 3}
VALIDATION = 36
TRAIN = COUNT - VALIDATION


def queue(bench: Bench, dataset: str = "d", **params: Any) -> Job:
    return bench.queue(dataset, kind=JobKind.GROW, **GROW | {"validation_fraction": 0.15} | params)


def grow(bench: Bench, dataset: str = "d", **params: Any) -> Job:
    job = queue(bench, dataset, **params)
    run_claimed(bench.state, bench.settings, bench.claim())
    return bench.state.jobs.get(job.id)


def result_of(bench: Bench, dataset: str = "d", **params: Any) -> Mapping[str, Any]:
    job = grow(bench, dataset, **params)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def versions_of(bench: Bench, dataset: str = "d") -> list[SetVersion]:
    """Oldest first."""
    return bench.state.sets.versions(bench.state.datasets.get(dataset))[::-1]


def members(bench: Bench, version: SetVersion, name: SetName, dataset: str = "d") -> set[int]:
    """Ordinals."""
    column = bench.state.sets.column(bench.state.datasets.get(dataset), version.version)
    return set(np.flatnonzero(column["set"] == CODE_BY_SET[name]).tolist())


def assert_sound(bench: Bench) -> None:
    assert list(verify(bench.state, [], lambda _: None)) == []


def test_the_core_grows_and_noise_is_quarantined(bench: Bench) -> None:
    dataset = bench.dataset(reviews_with_slips())
    result = result_of(bench)
    rounds = result["rounds"]
    assert (result["stopped"], [held["round"] for held in rounds]) == ("rounds", [1, 2, 3])
    assert [held["core"] for held in rounds] == [41, 71, 102]  # a fifth of 204, to the half
    assert [held["set_version"] for held in rounds] == [1, 2, 3]
    assert result["set_version"] == 3
    for held in rounds:
        assert held["lead"] == held["validation"]["accuracy"] - held["control"]["accuracy"]
        assert held["visits"] == 2 * held["epochs"] * held["trained_on"] + TRAIN - held["trained_on"]
        assert held["seconds"] > 0
    assert sum(held["visits"] for held in rounds) == result["visits"]
    best = max(rounds, key=lambda held: held["validation"]["accuracy"])
    assert result["best_round"] == best["round"]

    versions = versions_of(bench)
    assert [version.params["round"] for version in versions] == [1, 2, 3]
    assert [version.sizes for version in versions] == [held["sets"] for held in rounds]
    cores = [members(bench, version, SetName.CORE) for version in versions]
    noises = [members(bench, version, SetName.NOISE) for version in versions]
    for turn in (1, 2):
        assert cores[turn - 1] <= cores[turn] | noises[turn]
        assert noises[turn - 1] <= noises[turn]
    known = {entry.ordinal for entry in bench.state.ids.entries(dataset, wrong_ids()) if entry is not None}
    assert len(noises[-1] & known) >= 0.8 * len(noises[-1])
    assert len(noises[-1]) >= 0.7 * len(known)
    assert_sound(bench)


def test_every_train_sample_is_visited_once_a_round(bench: Bench) -> None:
    bench.dataset(reviews_with_slips())
    result_of(bench)
    visits = sums(bench, "d", COUNT)["visits"]
    assert sorted(np.unique(visits)) == [0, 3]
    assert (visits == 3).sum() == TRAIN
    bench.run(num_train_epochs=1)  # and a score job goes on from there
    assert set(sums(bench, "d", COUNT)["visits"]) == {1, 4}


def test_every_round_takes_as_many_steps(bench: Bench) -> None:
    bench.dataset(reviews_with_slips())
    result = result_of(bench, num_train_epochs=3)
    steps = [held["epochs"] * -(-held["trained_on"] // 8) for held in result["rounds"]]
    full = 3 * -(-102 // 8)
    assert steps[-1] == full
    assert all(
        full <= count < full + -(-held["trained_on"] // 8)
        for count, held in zip(steps, result["rounds"], strict=True)
    )


@pytest.mark.parametrize(
    ("params", "stopped", "rounds"),
    [
        ({"learning_rate": 0.0, "round_patience": 2, "max_rounds": 9}, "no_gain", 3),
        ({"min_gain": 1.0, "round_patience": 1, "max_rounds": 9}, "no_gain", 2),
        ({"max_visits": 600}, "visits", 1),
        ({"max_visits": 1200}, "visits", 2),
        ({"max_rounds": 1}, "rounds", 1),
        ({"initial_fraction": 0.88, "core_fraction": 1.0, "max_rounds": 4}, "exhausted", 2),
    ],
)
def test_what_stops_it(bench: Bench, params: dict[str, Any], stopped: str, rounds: int) -> None:
    bench.dataset(reviews_with_slips())
    result = result_of(bench, **params)
    assert (result["stopped"], len(result["rounds"])) == (stopped, rounds)
    assert len(versions_of(bench)) == rounds
    assert result["visits"] <= params.get("max_visits", 10**9)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"max_visits": 100}, "budget_too_small"),
        ({"initial_fraction": 0.001}, "core_too_small"),
        ({"validation_fraction": 0.0}, "no_validation"),
        ({"trusted_validation": True}, "no_validation"),
    ],
)
def test_what_cannot_grow_says_so(bench: Bench, params: dict[str, Any], code: str) -> None:
    bench.dataset(reviews_with_slips())
    job = grow(bench, **params)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == code
    assert versions_of(bench) == []
    assert_sound(bench)


KILLS = [  # in the order that one job comes by; of calls since the kill before
    (Checkpoints, "save_base", 1),
    (Checkpoints, "write", 1),  # the first core is chosen
    (Checkpoints, "write", 4),  # in the training
    (ScoringRun, "measure", 1),
    (Teaching, "teach", 1),
    (Teaching, "teach", 2),
    (Rounds, "_count_visits", 1),
    (ScoreBook, "write_all", 1),
    (Groundwork, "publish", 1),
    (Rounds, "next", 1),
    (Checkpoints, "write", 9),  # in the training of the second round
    (Checkpoints, "write", 30),  # while all others are measured
    (Teaching, "teach", 3),
    (Groundwork, "publish", 1),
    (Groundwork, "close_run", 1),
]


@pytest.mark.timeout(600)
def test_a_killed_job_ends_as_an_undisturbed_one(short_lease: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job, killed again and again, everywhere."""
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one at every step
    dropout = {"model_config": {"hidden_dropout_prob": 0.2}}
    bench.settings = bench.settings.model_copy(update={"max_crashes": len(KILLS) + 1})
    bench.dataset(reviews_with_slips(), name="calm")
    calm = result_of(bench, "calm", **dropout)
    bench.dataset(reviews_with_slips())
    job = queue(bench, **dropout)
    for owner, method, calls in KILLS:
        die_after(bench, monkeypatch, owner, method, calls)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, len(KILLS) + 1)
    assert ended.result is not None
    assert_same(sums(bench, "d", COUNT), sums(bench, "calm", COUNT))
    for found, wanted in zip(ended.result["rounds"], calm["rounds"], strict=True):
        assert {name: found[name] for name in found if name != "seconds"} == {
            name: wanted[name] for name in wanted if name != "seconds"
        }
    for found, wanted in zip(versions_of(bench), versions_of(bench, "calm"), strict=True):
        for name in SetName:
            assert members(bench, found, name) == members(bench, wanted, name, "calm")
    assert_sound(bench)


@pytest.mark.parametrize("way", [JobCancelled, JobInterrupted])
def test_a_job_stopped_in_a_round_keeps_the_rounds_before(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch, way: type[Exception]
) -> None:
    bench = short_lease
    bench.dataset(reviews_with_slips())
    job = queue(bench)
    record, steps = Teaching._record, []

    def stopping(teaching: Teaching, *args: Any) -> None:
        record(teaching, *args)
        steps.append(args)
        if teaching._turn == 2 and len(steps) % 3 == 0:
            raise way

    with monkeypatch.context() as patch:
        patch.setattr(Teaching, "_record", stopping)
        run_claimed(bench.state, bench.settings, bench.claim())
    assert len(versions_of(bench)) == 1
    if way is JobInterrupted:
        assert bench.state.jobs.get(job.id).state is JobState.QUEUED
        run_claimed(bench.state, bench.settings, bench.claim())
        assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
        assert set(sums(bench, "d", COUNT)["visits"]) == {0, 3}
    else:
        assert bench.state.jobs.get(job.id).state is JobState.CANCELLED
        assert set(sums(bench, "d", COUNT)["visits"]) == {0, 1}
    assert_sound(bench)


@pytest.mark.parametrize(("name", "written"), [(GROWN, 4), (TAUGHT, 6)])
def test_a_full_disk_is_borne(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, written: int) -> None:
    """What the job goes on from it waits for; what only saves work it does without."""
    bench.dataset(reviews_with_slips())
    tried = full_disk(monkeypatch, name, 2)
    assert len(result_of(bench)["rounds"]) == 3
    assert len(tried) == (written + 2 if name == GROWN else written)
    assert_sound(bench)


def test_a_verdict_needs_no_second_look(bench: Bench) -> None:
    dataset = bench.dataset(reviews_with_slips())
    right, wrong = "s100", "s101"  # a reviewer may disagree with everything that is said
    slip = wrong_ids()[3]
    for sample, verdict in (
        (right, Verdict.CORRECT),
        (slip, Verdict.CORRECT),
        (wrong, Verdict.WRONG),
    ):
        add_review(bench.state, dataset, sample, verdict, None)
    result_of(bench, max_rounds=1)
    found = {score["id"]: score for score in bench.scores([right, wrong, slip])}
    in_train = {name: score for name, score in found.items() if score["set"] != "unscored"}
    assert {name for name, score in in_train.items() if score["set"] == "noise"} <= {wrong}
    assert found[wrong]["set"] in ("noise", "unscored")
    assert len(in_train) >= 2


def test_a_sample_deleted_meanwhile_leaves_the_core(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = bench.dataset(reviews_with_slips())
    count_visits, gone = Rounds._count_visits, []

    def deleting(rounds: Rounds) -> None:
        count_visits(rounds)
        if not gone:
            current = bench.state.sets.numbers(dataset)
            assert current == []
            gone.append("s200")
            bench.send(dataset, [{"id": "s200", "text": "another text", "label": 0}])

    monkeypatch.setattr(Rounds, "_count_visits", deleting)
    result = result_of(bench)
    assert gone
    assert all(sum(held["sets"].values()) >= TRAIN - 1 for held in result["rounds"])
    assert bench.scores(["s200"])[0]["set"] == "unscored"
    assert_sound(bench)


def test_the_order_of_the_samples_does_not_show(bench: Bench) -> None:
    """Scores depend on the order that samples are visited in, so the learning rate is 0."""
    validation = [
        {
            "id": f"v{i:02}",
            "text": "good love" if i % 2 else "bad hate",
            "label": i % 2,
            "split": "validation",
        }
        for i in range(20)
    ]
    rows = reviews_with_slips()
    bench.dataset([*rows, *validation], name="one")
    bench.dataset([*random.Random(1).sample(rows, COUNT), *validation], name="other")
    for name in ("one", "other"):
        result_of(bench, name, learning_rate=0.0, max_rounds=2)
    ids = [str(row["id"]) for row in rows]
    first, second = ({s["id"]: s for s in bench.scores(ids, name)} for name in ("one", "other"))
    assert {one: first[one]["set"] for one in ids} == {one: second[one]["set"] for one in ids}
