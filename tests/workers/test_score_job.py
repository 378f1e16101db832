"""A score job from samples to sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts import JobState, SetName, Task
from app.contracts.params import ScoreParams
from app.services.datasets import delete_dataset
from app.services.sets import page
from app.store.layout import VISITS_AT_MOST
from app.store.records import importance
from models.encoders import load_classifier
from tests.workers.conftest import Bench, Row
from workers.runner import run_claimed
from workers.score.judging import judge
from workers.score.seen import Seen
from workers.score.sets import place, publish_sets

MakeRows = Callable[[int], list[Row]]


def ids(rows: list[Row]) -> list[str]:
    return [str(row["id"]) for row in rows]


def test_every_train_sample_is_visited_once_an_epoch_and_placed(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(50)
    bench.dataset(rows)
    job = bench.run(num_train_epochs=3, policy="seed", core_fraction=0.3, noise_fraction=0.2)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    assert job.result["sets"] == {"core": 15, "edge": 25, "noise": 10}
    assert job.result["scored"] == 50
    scores = bench.scores(ids(rows))
    assert {score["visits"] for score in scores} == {3}
    by_importance = sorted(scores, key=lambda score: (-score["importance"], score["id"]))
    assert [score["set"] for score in by_importance] == ["core"] * 15 + ["edge"] * 25 + ["noise"] * 10
    assert by_importance[0]["percentile"] == 100.0


def test_importance_is_the_mean_norm_of_one_backward_per_sample(
    bench: Bench, make_rows: MakeRows, tiny_model: Path
) -> None:
    """With learning rate 0 every visit sees one checkpoint, so S_i is that checkpoint's gradient norm."""
    rows = make_rows(30)
    bench.dataset(rows)
    job = bench.run(learning_rate=0.0, seed=7)
    assert job.state is JobState.SUCCEEDED, job.error
    classifier = load_classifier(str(tiny_model), num_labels=2, seed=7)
    classifier.model.eval()
    for row, score in zip(rows, bench.scores(ids(rows)), strict=True):
        assert score["importance"] == pytest.approx(_norm_of_one(classifier, row), rel=1e-4)
        assert score["signals"]["grad_norm"]["std"] == pytest.approx(0.0, abs=1e-4)


def _norm_of_one(classifier: Any, row: Row) -> float:
    classifier.model.zero_grad()
    inputs = classifier.tokenizer(row["text"], truncation=True, max_length=16, return_tensors="pt")
    label = torch.tensor([row["label"]])
    torch.nn.functional.cross_entropy(classifier.model(**inputs).logits, label).backward()
    parameters = [p.grad for p in classifier.model.parameters() if p.grad is not None]
    return float(torch.cat([grad.flatten() for grad in parameters]).double().norm())


def test_a_second_job_continues_the_lineage_and_fresh_starts_anew(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(16)
    bench.dataset(rows)
    first = bench.run()
    second = bench.run(seed=1)
    assert second.lineage == first.lineage
    assert {score["visits"] for score in bench.scores(ids(rows))} == {4}
    other_model = bench.run(model_config={"hidden_dropout_prob": 0.1})
    assert other_model.lineage != first.lineage
    fresh = bench.run(model_config={"hidden_dropout_prob": 0.1}, fresh=True)
    assert fresh.lineage not in (first.lineage, other_model.lineage)
    assert {score["visits"] for score in bench.scores(ids(rows))} == {2}
    versions = bench.state.sets.versions(bench.state.datasets.get("d"))
    assert [version.version for version in versions] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("rows", "task", "classes"),
    [
        ([{"id": f"c{i}", "text": f"question {i}", "label": f"intent{i % 20:02}"} for i in range(40)],
         Task.CLASSIFICATION, [f"intent{i:02}" for i in range(20)]),
        ([{"id": f"z{i}", "text": "质量很好" if i % 2 else "不好 退货", "label": i % 2} for i in range(10)],
         Task.CLASSIFICATION, [0, 1]),
        ([{"id": f"r{i}", "text": f"query {i // 3}", "text_pair": f"item {i}", "label": i % 3,
           "group": f"q{i // 3}"} for i in range(12)], Task.RELEVANCE, [0, 1, 2]),
        ([{"id": f"o{i}", "text": f"text {i}", "label": f"only{i}"} for i in range(5)],
         Task.CLASSIFICATION, [f"only{i}" for i in range(5)]),
        ([{"id": f"n{i}", "text": f"text {i}", "label": (2, 10, 1)[i % 3]} for i in range(9)],
         Task.CLASSIFICATION, [1, 2, 10]),
    ],
    ids=["many classes", "Chinese", "pairs with grades", "one sample a class", "numbers sort by value"],
)  # fmt: skip
def test_data_of_other_shapes(bench: Bench, rows: list[Row], task: Task, classes: list[Any]) -> None:
    bench.dataset(rows, task=task)
    job = bench.run(num_train_epochs=1)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    assert job.result["labels"] == classes
    assert bench.state.datasets.get("d").labels == tuple(classes)
    assert job.result["scored"] == len(rows)
    assert {score["visits"] for score in bench.scores(ids(rows))} == {1}


def test_one_label_only_fails_with_its_code(bench: Bench) -> None:
    """As it may come to be between the request and the job's turn."""
    rows: list[Row] = [{"id": f"s{i}", "text": "same", "label": "a"} for i in range(4)]
    dataset = bench.dataset([*rows, {"id": "other", "text": "same", "label": "b"}])
    waiting = bench.queue()
    bench.send(dataset, [{"id": "other", "text": "same", "label": "a"}])
    run_claimed(bench.state, bench.settings, bench.claim())
    job = bench.state.jobs.get(waiting.id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "too_few_classes"
    assert job.error.remedy


def test_only_labelled_train_samples_are_scored(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(20)
    others: list[Row] = [
        {"id": "v", "text": "good", "label": 1, "split": "validation"},
        {"id": "v0", "text": "bad", "label": 0, "split": "validation"},
        {"id": "t", "text": "bad", "label": 0, "split": "test"},
        {"id": "u", "text": "no label"},
    ]
    bench.dataset(rows + others)
    job = bench.run()
    assert job.result is not None
    assert (job.result["scored"], job.result["skipped_unlabelled"]) == (20, 1)
    assert job.result["validation_source"] == "client"
    assert job.result["epochs"][0]["validation"]["count"] == 2
    assert {score["set"] for score in bench.scores(["v", "t", "u"])} == {"unscored"}


def test_early_stopping_cuts_a_validation_split_that_is_not_scored(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(40)
    bench.dataset(rows)
    job = bench.run(num_train_epochs=6, early_stopping_patience=1, learning_rate=0.0)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    assert (job.result["validation_source"], job.result["validation_samples"]) == ("cut", 4)
    visits = [score["visits"] for score in bench.scores(ids(rows))]
    assert (
        sorted(visits) == [0] * 4 + [2] * 36
    )  # an unchanged model does not get better after the first epoch


def test_a_sample_changed_since_its_score_has_no_place_in_the_new_version(
    bench: Bench, make_rows: MakeRows
) -> None:
    rows = make_rows(12)
    dataset = bench.dataset(rows)
    job = bench.run()
    assert job.lineage is not None
    held = bench.state.scores.read_all(dataset.uid, job.lineage, 12)
    bench.queue()
    claim = bench.claim()
    bench.state.datasets.take_fence(dataset.uid, claim.token)
    current = bench.state.datasets.get("d")
    params = ScoreParams(policy="seed")
    seen = Seen((0, 1), np.arange(12))
    before, _ = place(bench.state, dataset, held, seen, lambda known, *_: judge(known, params, None, None))
    bench.send(dataset, [{**rows[0], "text": "another text"}, {**rows[1], "split": "test"}])
    version = publish_sets(bench.state, current, claim, job.lineage, params, before)
    assert sum(version.sizes.values()) == 10
    assert importance(held[:1])[0] > 0
    assert [score["set"] for score in bench.scores(ids(rows[:2]))] == ["unscored", "unscored"]


def test_deleting_the_dataset_cancels_its_job(bench: Bench, make_rows: MakeRows) -> None:
    dataset = bench.dataset(make_rows(12))
    job = bench.queue()
    claim = bench.claim()
    delete_dataset(bench.state, bench.settings, dataset)
    run_claimed(bench.state, bench.settings, claim)
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED


def test_a_model_that_is_none_fails_with_its_code(bench: Bench, make_rows: MakeRows, tmp_path: Path) -> None:
    bench.dataset(make_rows(8))
    folder = tmp_path / "models" / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    bench.model = "broken"
    job = bench.run()
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "model_load_failed"


def test_pages_of_a_version_hold_each_member_once(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(23)
    bench.dataset(rows)
    bench.run()
    dataset = bench.state.datasets.get("d")
    seen: list[str] = []
    for name in SetName:
        cursor = None
        while True:
            found = page(
                bench.state, dataset, name, version=None, order="-importance", limit=4, cursor=cursor
            )
            seen += [item.id for item in found.items]
            cursor = found.next_cursor
            if cursor is None:
                break
    assert sorted(seen) == ids(rows)


def test_adapters_alone_are_scored_and_the_coverage_says_so(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(16)
    bench.dataset(rows)
    whole = bench.run()
    job = bench.run(peft={"r": 4})
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.lineage != whole.lineage
    assert job.result is not None
    coverage = job.result["coverage"]
    assert coverage["adapter_values"] == 2 * 2 * 2 * 4 * 32
    assert coverage["values"] == coverage["adapter_values"] + 2 * 32 + 2  # and the head
    assert coverage["frozen_values"] > coverage["values"]
    assert {score["visits"] for score in bench.scores(ids(rows))} == {2}


def test_alignment_is_shown_where_there_is_a_validation_split(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(20)
    bench.dataset(rows)
    bench.run()
    assert bench.scores(["s0000"])[0]["signals"]["alignment"] is None
    held_out = [{**row, "id": f"v{row['id']}", "split": "validation"} for row in rows[:8]]
    bench.send(bench.state.datasets.get("d"), held_out)
    job = bench.run(alignment_steps=2)
    assert job.state is JobState.SUCCEEDED, job.error
    alignments = [score["signals"]["alignment"] for score in bench.scores(ids(rows))]
    assert all(-1.0 <= alignment <= 1.0 for alignment in alignments)
    assert max(alignments) > 0.1


def test_a_visit_too_many_fails_the_job_with_its_sample(bench: Bench, make_rows: MakeRows) -> None:
    dataset = bench.dataset(make_rows(20))
    lineage = bench.run().lineage
    assert lineage is not None
    ledger, records = bench.state.scores.read_shards(dataset.uid, lineage, [0])[0]
    records["visits"][3] = VISITS_AT_MOST
    bench.state.scores.write_shards(dataset.uid, lineage, ledger, {0: records})
    job = bench.run()
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "too_many_visits"
    assert "'s0003'" in job.error.detail
    assert "fresh" in job.error.remedy
    assert bench.run(fresh=True).state is JobState.SUCCEEDED


def test_an_attempt_that_comes_again_finds_its_version_made(bench: Bench, make_rows: MakeRows) -> None:
    dataset = bench.dataset(make_rows(20))
    bench.queue()
    claim = bench.claim()
    run_claimed(bench.state, bench.settings, claim)
    dataset = bench.state.datasets.get("d")
    assert dataset.lineage is not None
    records = bench.state.scores.read_all(dataset.uid, dataset.lineage, 20)
    params = ScoreParams.model_validate(claim.job.params)
    seen = Seen((0, 1), np.arange(20))
    placement, _ = place(
        bench.state, dataset, records, seen, lambda known, *_: judge(known, params, None, None)
    )
    again = publish_sets(bench.state, dataset, claim, dataset.lineage, params, placement)
    assert again.version == 1
    assert [version.version for version in bench.state.sets.versions(dataset)] == [1]
