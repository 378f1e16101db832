"""A job on a device that is too small for its batches: it says so, goes on, and scores the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import BertModel

from app.contracts import Job, JobKind, JobState
from app.services.scores import scores
from app.services.verify import verify
from tests.workers.conftest import Bench, short_reviews
from tests.workers.test_budget import visits
from tests.workers.test_resume import die_after
from workers.runner import run_claimed
from workers.score.checkpoint import Checkpoints

MESSAGE = "CUDA out of memory. Tried to allocate 20.00 MiB"


@pytest.fixture
def small_device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Room for three samples at a time. Tells what was too much."""
    failed: list[int] = []
    forward = BertModel.forward

    def limited(self: BertModel, *args: Any, **kwargs: Any) -> Any:
        rows = len(args[0] if args else kwargs["input_ids"])
        if rows > 3:
            failed.append(rows)
            raise torch.OutOfMemoryError(MESSAGE)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", limited)
    return failed


def succeeded(job: Job) -> dict[str, Any]:
    assert job.state is JobState.SUCCEEDED, job.error
    return dict(job.result or {})


def test_scores_are_those_of_a_large_device(bench: Bench, request: pytest.FixtureRequest) -> None:
    for name in ("large", "small"):
        bench.dataset(short_reviews(40), name=name)
    asked = {"learning_rate": 1e-5, "validation_fraction": 0.1, "num_train_epochs": 2}
    assert succeeded(bench.run("large", **asked))["micro_batch"] is None
    failed = request.getfixturevalue("small_device")
    result = succeeded(bench.run("small", **asked))
    assert result["micro_batch"] == 2
    assert 8 in failed
    ids = [f"s{i:04}" for i in range(40)]
    found, wanted = _scored(bench, "small", ids), _scored(bench, "large", ids)
    assert found.keys() == wanted.keys()
    for key, score in found.items():
        assert score["visits"] == wanted[key]["visits"] == 2
        assert score["importance"] == pytest.approx(wanted[key]["importance"], rel=1e-3)
    assert list(verify(bench.state, ["small"], lambda *_: None)) == []


def _scored(bench: Bench, dataset: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Without those that were held out to validate."""
    held = scores(bench.state, bench.state.datasets.get(dataset), ids)
    return {score["id"]: score for score in held if score is not None and score["visits"]}


def test_a_killed_job_does_not_try_the_larger_size_again(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch, small_device: list[int]
) -> None:
    bench = short_lease
    bench.dataset(short_reviews(40))
    job = bench.queue(policy="seed")
    die_after(bench, monkeypatch, Checkpoints, "write", 3)
    assert small_device == [8, 4]
    run_claimed(bench.state, bench.settings, bench.claim())
    assert succeeded(bench.state.jobs.get(job.id))["micro_batch"] == 2
    assert small_device == [8, 4]
    assert visits(bench, 40) == [2] * 40


def test_several_trainings_share_it(bench: Bench, small_device: list[int]) -> None:
    bench.dataset(short_reviews(40))
    result = succeeded(bench.run(kind=JobKind.TRAIN, set="full", domain_pretraining={"max_steps": 2}))
    assert result["micro_batch"] == 2
    assert small_device == [8, 4]


def test_too_small_for_one_sample(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError(MESSAGE)

    bench.dataset(short_reviews(40))
    with monkeypatch.context() as patch:
        patch.setattr(BertModel, "forward", never)
        job = bench.run(policy="seed")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "out_of_memory"
    assert MESSAGE in job.error.detail
    with monkeypatch.context() as patch:
        patch.setattr("workers.ground.load_classifier", never)
        job = bench.run(policy="seed")
    assert job.error is not None
    assert (job.error.code, bool(job.error.remedy)) == ("out_of_memory", True)
    assert bench.run().state is JobState.SUCCEEDED
