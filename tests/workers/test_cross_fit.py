"""`params.cross_fit`: the noise estimate hears models that were trained on the other folds."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from app.contracts import Job, JobState
from tests.workers.conftest import Bench
from tests.workers.test_resume import assert_same, die_after, sums
from tests.workers.test_robust_sets import COUNT, reviews_with_slips, wrong_ids
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.cross_fit import folds_by_text
from workers.score.data import Rows
from workers.score.teaching import Teaching

ASKED: dict[str, Any] = {"num_train_epochs": 2, "cross_fit": 3, "core_fraction": 0.5}


def told_of(job: Job) -> dict[str, Any]:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return dict(job.result["noise"])


def probabilities(bench: Bench, dataset: str = "d") -> list[float]:
    return [score["noise_probability"] for score in bench.scores([f"s{i:03}" for i in range(COUNT)], dataset)]


def test_it_finds_wrong_labels_and_records_no_visit(bench: Bench) -> None:
    bench.dataset(reviews_with_slips())
    told = told_of(bench.run(**ASKED))
    assert told["cross_fit"]["folds"] == 3
    assert told["cross_fit"]["agreement"] > 0.7
    assert set(sums(bench, "d", COUNT)["visits"]) == {2}
    scores = bench.scores([f"s{i:03}" for i in range(COUNT)])
    noise = {score["id"] for score in scores if score["set"] == "noise"}
    assert len(noise & set(wrong_ids())) >= 0.7 * len(wrong_ids())
    assert len(noise - set(wrong_ids())) <= 0.3 * len(noise)


def test_it_is_heard(bench: Bench) -> None:
    """The same job without it judges otherwise, and scores the same."""
    for name in ("with", "without"):
        bench.dataset(reviews_with_slips(), name=name)
    bench.run("with", **ASKED)
    bench.run("without", **(ASKED | {"cross_fit": None}))
    assert_same(sums(bench, "with", COUNT), sums(bench, "without", COUNT))
    assert probabilities(bench, "with") != probabilities(bench, "without")


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [(Checkpoints, "write", 3), (Teaching, "teach", 2), (ScoreBook, "flush", 4)],
    ids=["in a fold", "after fold 2", "while scoring"],
)
def test_a_killed_job_goes_on_within_its_folds(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, calls: int
) -> None:
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one after each step
    bench.dataset(reviews_with_slips(), name="calm")
    asked = ASKED | {"num_train_epochs": 1}
    calm = told_of(bench.run("calm", **asked))
    bench.dataset(reviews_with_slips())
    job = bench.queue(**asked)
    die_after(bench, monkeypatch, owner, method, calls)
    steps: list[int] = []
    teach = Teaching._go_on

    def counting(teaching: Teaching, lesson: str, run: Any) -> int:
        measured = teach(teaching, lesson, run)
        steps.append(run._step)
        return measured

    monkeypatch.setattr(Teaching, "_go_on", counting)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert ended.attempt == 2
    assert told_of(ended) == calm
    assert probabilities(bench) == probabilities(bench, "calm")
    assert_same(sums(bench, "d", COUNT), sums(bench, "calm", COUNT))
    if method == "teach":
        assert len(steps) == 3 - calls, "folds that are done are not trained again"
    if method == "write":
        assert steps[0] > 0, "the broken fold goes on where it was"


def test_too_few_samples_to_judge_train_no_folds(bench: Bench) -> None:
    bench.dataset(reviews_with_slips()[20:60])
    told = told_of(bench.run(**ASKED))
    assert told["basis"] is None
    assert "cross_fit" not in told


def test_copies_of_a_text_are_in_one_fold_whatever_their_order() -> None:
    texts = [f"text {i % 40}" for i in range(200)]
    pairs: list[str | None] = [None if i % 40 < 20 else f"pair {i % 40}" for i in range(200)]
    order = random.Random(0).sample(range(200), 200)
    zeros = np.zeros(200, dtype=np.int64)
    ids = [str(i) for i in range(200)]

    def rows(texts: list[str], pairs: list[str | None]) -> Rows:
        return Rows(zeros, zeros.astype(np.uint32), ids, texts, pairs, zeros, [None] * 200)

    folds = folds_by_text(rows(texts, pairs), 4, seed=3)
    assert set(folds) == {0, 1, 2, 3}
    assert all(len(set(folds[i::40])) == 1 for i in range(40))
    shuffled = folds_by_text(rows([texts[i] for i in order], [pairs[i] for i in order]), 4, seed=3)
    np.testing.assert_array_equal(shuffled, folds[order])
