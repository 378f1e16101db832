"""`compare` in a whole job: what is trained, what it is measured by, and going on after any kill."""

from __future__ import annotations

import copy
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from app.contracts import Job, JobKind, JobState, Task
from app.services.job_files import open_job_file
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import die_after
from tests.workers.test_robust_sets import reviews_with_slips
from tests.workers.test_train_job import graded, with_test
from workers.compare import slicing
from workers.compare.pipeline import CompareJob
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.pace import Pace

TEST = 60


def prepared(bench: Bench, dataset: str = "d", rows: list[Row] | None = None) -> None:
    """Scored, with a core of half of 180 samples, and 60 to test on."""
    bench.dataset(with_test(reviews_with_slips() if rows is None else rows, TEST), name=dataset)
    bench.run(dataset, num_train_epochs=1)


def compare(bench: Bench, dataset: str = "d", **params: Any) -> Job:
    return bench.run(dataset, kind=JobKind.COMPARE, **{"seeds": 2, "num_train_epochs": 1} | params)


def result_of(job: Job) -> Mapping[str, Any]:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def without_times(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = copy.deepcopy(dict(result))
    del kept["seconds"]
    del kept["provenance"]["job"]
    for subset in kept["subsets"]:
        for run in subset["runs"]:
            del run["seconds"]
    return kept


def test_every_subset_has_its_control_and_as_many_steps(bench: Bench) -> None:
    rows = [
        {**row, "meta": {"third": i % 3 == 0, "row": f"r{i}"}} for i, row in enumerate(reviews_with_slips())
    ]
    prepared(bench, rows=rows)
    job = compare(bench, subsets=["core", "core+edge"], slices=["label", "meta.third", "meta.row"])
    assert job.params["subsets"] == ["full", "core@1", "random:core@1", "core+edge@1", "random:core+edge@1"]
    result = result_of(job)
    assert [one["subset"] for one in result["subsets"]] == job.params["subsets"]
    sizes = {one["subset"]: one["samples"] for one in result["subsets"]}
    assert sizes["full"] == 180
    assert sizes["core@1"] == sizes["random:core@1"] == 90
    assert {one["steps"] for one in result["subsets"]} == {23}  # an epoch of 180 samples
    assert result["steps"] == 5 * 2 * 23
    assert all([run["seed"] for run in one["runs"]] == [42, 43] for one in result["subsets"])
    pairs = [(one["subset"], one["baseline"]) for one in result["comparisons"]]
    assert pairs[:2] == [("core@1", "random:core@1"), ("core+edge@1", "random:core+edge@1")]
    assert pairs[2:] == [(text, "full") for text in job.params["subsets"][1:]]
    verdicts = [one["verdict"] for one in result["comparisons"]]
    assert result["verdict"][-len(verdicts) :] == verdicts
    assert result["without_a_model"]["value"] == 0.5
    assert (result["metric"], result["test_samples"]) == ("accuracy", TEST)
    for one in result["subsets"]:
        accuracies = [run["accuracy"] for run in one["runs"]]
        assert one["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
        assert np.sum(one["confusion"]) == 2 * TEST
        assert np.trace(one["confusion"]) == pytest.approx(TEST * sum(accuracies))
    first = result["comparisons"][0]
    by_name = {one["subset"]: one["metrics"]["accuracy"]["mean"] for one in result["subsets"]}
    assert first["difference"] == pytest.approx(by_name["core@1"] - by_name["random:core@1"])
    assert first["low"] <= first["difference"] <= first["high"]
    assert {one["label"]: one["count"] for one in first["labels"]} == {0: 30, 1: 30}
    by = Counter(one["by"] for one in first["slices"])
    assert by == {"label": 2, "meta.third": 2, "meta.row": 1}
    assert [one["label"] for one in first["labels"]] == [one["value"] for one in first["slices"][:2]]
    assert sum(one["count"] for one in first["slices"] if one["by"] == "meta.third") == TEST
    told = {one["by"]: (one["slices"], one["too_small"], one["left_out"]) for one in result["slicings"]}
    assert told == {"label": (2, 0, 0), "meta.third": (2, 0, 0), "meta.row": (1, 20, 0)}


def test_the_predictions_are_those_that_were_counted(bench: Bench) -> None:
    prepared(bench)
    job = compare(bench)
    content = b"".join(open_job_file(bench.state, job.id, "predictions.parquet")[1])
    table = pq.read_table(io.BytesIO(content)).to_pydict()
    assert len(table["id"]) == TEST
    for one in result_of(job)["subsets"]:
        for run in one["runs"]:
            said = table[f"{one['subset']}, seed {run['seed']}"]
            right = np.mean([a == b for a, b in zip(said, table["label"], strict=True)])
            assert right == pytest.approx(run["accuracy"])


def test_random_subsets_differ_from_seed_to_seed_and_the_same_job_gives_the_same_numbers(
    bench: Bench,
) -> None:
    prepared(bench)
    asked: dict[str, Any] = {"max_steps": 6, "model_config": {"hidden_dropout_prob": 0.2}}
    first, again = (without_times(result_of(compare(bench, **asked))) for _ in range(2))
    assert first == again
    other = without_times(result_of(compare(bench, **asked, seed=7)))
    assert other["subsets"] != first["subsets"]


def test_a_killed_job_goes_on_from_what_is_done(short_lease: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first training, in the second, between two, and at the end."""
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one after each step
    prepared(bench)
    calm = result_of(compare(bench, max_steps=6))
    kills = (
        (Pace, "add", 3),
        (Pace, "add", 10),
        (CompareJob, "_trained", 4),
        (CompareJob, "_keep_predictions", 1),
    )
    for owner, method, calls in kills:
        job = bench.queue(kind=JobKind.COMPARE, seeds=2, num_train_epochs=1, max_steps=6)
        die_after(bench, monkeypatch, owner, method, calls)
        steps: list[int] = []
        with monkeypatch.context() as patch:
            add = Pace.add

            def counting(pace: Pace, step: int, *told: Any, steps: list[int] = steps, add: Any = add) -> None:
                steps.append(step)
                add(pace, step, *told)

            patch.setattr(Pace, "add", counting)
            run_claimed(bench.state, bench.settings, bench.claim())
        ended = bench.state.jobs.get(job.id)
        assert ended.attempt == 2
        assert without_times(result_of(ended)) == without_times(calm), method
        done = {"add": calls - 1, "_trained": 4 * 6, "_keep_predictions": calm["steps"]}[method]
        assert len(steps) == calm["steps"] - done, "what was done is not done again"


def test_without_a_test_split_or_a_field_to_slice_by_nothing_is_trained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = reviews_with_slips()
    bench.dataset([{**rows[0], "split": "test"}, *rows[1:]])
    monkeypatch.setattr(CompareJob, "_trained", None)
    failed = compare(bench, subsets=["full"])
    assert failed.error is not None
    assert (failed.error.code, "1 labelled samples" in failed.error.detail) == ("no_test", True)
    bench.dataset(with_test(rows, TEST), name="e")
    failed = compare(bench, "e", subsets=["full"], slices=["meta.brand"])
    assert failed.error is not None
    assert failed.error.code == "unknown_field"


def test_relevance_is_compared_by_the_order_within_queries(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slicing, "LEAST_IN_SLICE", 12)
    bench.dataset(graded(), task=Task.RELEVANCE)
    result = result_of(compare(bench, subsets=["random:full"], num_train_epochs=3))
    assert result["metric"] == "ndcg@10"
    for one in result["subsets"]:
        for run in one["runs"]:
            assert all(0 < run[name] <= 1 for name in ("ndcg@5", "ndcg@10", "mrr", "map", "auc"))
    first = result["comparisons"][0]
    assert "labels" not in first
    assert [(one["by"], one["value"], one["count"]) for one in first["slices"]] == [
        ("group_size", "5 to 9", 12)
    ]
    assert first["slices"][0]["ndcg@10"] == pytest.approx(result["subsets"][1]["metrics"]["ndcg@10"]["mean"])


def test_one_seed_decides_nothing(bench: Bench) -> None:
    prepared(bench)
    result = result_of(compare(bench, seeds=1, equal="epochs"))
    assert {one["outcome"] for one in result["comparisons"]} == {"unclear"}
    assert all("one seed, which decides nothing" in one["verdict"] for one in result["comparisons"])
    assert {one["subset"]: one["steps"] for one in result["subsets"]}["core@1"] == 12


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.RELEVANCE])
def test_models_that_have_learned_nothing_are_no_evidence(bench: Bench, task: Task) -> None:
    rows = graded() if task is Task.RELEVANCE else with_test(reviews_with_slips()[:60], 20)
    bench.dataset(rows, task=task)
    result = result_of(compare(bench, subsets=["full"], learning_rate=0.0))
    told = result["without_a_model"]
    assert told["unlearned"] == ["full"]
    assert (told["label"] is None) is (task is Task.RELEVANCE)
    assert result["verdict"][0].startswith("No model is surely better than ")
