"""What a dry run says of a job, against what the job then takes."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts import JobKind
from app.contracts.access import JobOrigin
from app.contracts.params.kinds import PARAMS
from app.errors import Busy, Forbidden, Invalid, NotFound
from app.services.jobs import dry_run
from tests.workers.conftest import FAST, Bench, short_reviews
from tests.workers.test_robust_sets import reviews_with_slips
from tests.workers.test_train_job import with_test


def estimated(bench: Bench, dataset: str = "d", *, kind: JobKind = JobKind.SCORE, **params: Any) -> Any:
    before = bench.state.client.dbsize()
    told = dry_run(
        bench.state,
        bench.settings,
        dataset_name=dataset,
        kind=kind,
        model=bench.model if kind.trains else None,
        params=PARAMS[kind].model_validate(FAST | params if kind.trains else params),
        origin=JobOrigin(),
    )
    assert bench.state.jobs.waiting() == 0
    assert bench.state.client.dbsize() == before, "something was recorded"
    return told["estimate"]


def test_the_steps_are_those_that_the_job_takes(bench: Bench) -> None:
    bench.dataset(with_test(reviews_with_slips(), 60))
    for kind, params in (
        (JobKind.SCORE, {"seeds": 2, "validation_fraction": 0.1}),
        (JobKind.TRAIN, {"set": "core+edge", "gradient_accumulation_steps": 2}),
        (JobKind.TRAIN, {"set": "full", "max_steps": 5}),
        (JobKind.COMPARE, {"seeds": 2, "num_train_epochs": 1}),
        (JobKind.COMPARE, {"seeds": 1, "max_steps": 3}),
    ):
        told = estimated(bench, kind=kind, **params)
        result = bench.run(kind=kind, **params).result or {}
        assert told["steps"] == result["steps"], (kind, params)
        if kind is not JobKind.COMPARE:
            assert told["train_samples"] == result["train_samples"]


def test_earlier_jobs_say_how_long_a_longer_one_takes(bench: Bench) -> None:
    """Of the same dataset and kind; twice to five times as much as was measured."""
    bench.dataset(short_reviews(160))
    for epochs in (2, 3):
        bench.run(num_train_epochs=epochs)
    told = estimated(bench, num_train_epochs=10)
    assert (told["basis"], told["earlier_jobs"]) == ("earlier jobs", 2)
    job = bench.run(num_train_epochs=10)
    took = bench.state.jobs.ran_seconds(job.id)
    seconds = told["seconds"]
    print(f"likely {seconds['likely']} s, took {took:.1f} s, ratio {seconds['likely'] / took:.2f}")
    assert seconds["low"] < seconds["likely"] < seconds["high"]
    assert took / 3 < seconds["likely"] < 3 * took, "on a machine that others use too"


def test_without_one_of_the_dataset_jobs_of_the_model_will_do(bench: Bench) -> None:
    for name in ("d", "e"):
        bench.dataset(short_reviews(40), name=name)
    bench.run("d")
    near, far = estimated(bench, "d"), estimated(bench, "e", kind=JobKind.TRAIN, set="full")
    assert near["basis"] == far["basis"] == "earlier jobs"
    spread = [told["seconds"]["high"] / told["seconds"]["low"] for told in (near, far)]
    assert spread[1] > 2 * spread[0]
    other_length = estimated(bench, "d", max_length=32)
    assert other_length["basis"] == "reference speeds", "another length is other work"


def test_with_nothing_to_go_by_it_says_so(bench: Bench) -> None:
    bench.dataset(short_reviews(40))
    told = estimated(bench)
    assert (told["basis"], told["earlier_jobs"]) == ("reference speeds", 0)
    twice = estimated(bench, num_train_epochs=200)
    assert twice["seconds"]["likely"] > told["seconds"]["likely"]
    told = estimated(bench, kind=JobKind.CLEAN)
    assert {told[name] for name in ("steps", "train_samples", "seconds", "basis", "cost")} == {None}


def test_what_it_costs(bench: Bench) -> None:
    bench.dataset(short_reviews(40))
    assert estimated(bench)["cost"] is None
    bench.settings = bench.settings.model_copy(update={"cost_per_hour": 3600.0, "cost_currency": "EUR"})
    told = estimated(bench)
    assert told["cost"] == told["seconds"] | {"currency": "EUR"}


def test_what_waits_before_it(bench: Bench) -> None:
    bench.dataset(short_reviews(40))
    bench.dataset(short_reviews(40), name="e")
    bench.run()
    assert estimated(bench)["queue_seconds"] == 0
    bench.queue("e")
    told = dry_run(
        bench.state,
        bench.settings,
        dataset_name="d",
        kind=JobKind.SCORE,
        model=bench.model,
        params=PARAMS[JobKind.SCORE].model_validate(FAST),
        origin=JobOrigin(),
    )["estimate"]
    assert told["queue_seconds"] == pytest.approx(told["seconds"]["likely"], rel=0.2)


def test_it_refuses_what_the_request_would_be_refused_for(bench: Bench) -> None:
    bench.dataset(short_reviews(40))
    with pytest.raises(NotFound):
        estimated(bench, "nowhere")
    with pytest.raises(NotFound):
        estimated(bench, kind=JobKind.TRAIN, set="core")
    with pytest.raises(Invalid, match="grades"):
        estimated(bench, kind=JobKind.TRAIN, set="full", loss="mse")
    good, bench.model = bench.model, "/etc"
    with pytest.raises(Forbidden):
        estimated(bench)
    bench.model = good
    bench.settings = bench.settings.model_copy(update={"max_queued_jobs": 1})
    bench.queue()
    with pytest.raises(Busy):
        estimated(bench)
