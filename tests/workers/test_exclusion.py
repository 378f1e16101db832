"""Jobs that train leave out the samples that the dataset's settings say, and say how many."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.contracts import Dataset, Job, JobKind, JobState, Task
from app.contracts.dataset_settings import DatasetSettings
from app.contracts.flags import SampleFlag
from app.contracts.params import ScoreParams
from app.errors import Conflict
from app.services.datasets import put_dataset
from app.services.scores import scores
from tests.workers.conftest import Bench, Row
from workers.lease import JobLease
from workers.runner import run_claimed
from workers.score.data import load_job_data
from workers.score.exclusion import exclusion_of

MakeRows = Callable[[int], list[Row]]
COPIES = ["c0", "c1", "c2"]


def exclude(bench: Bench, *flags: str) -> None:
    settings = DatasetSettings(exclude_flags=tuple(SampleFlag(name) for name in flags))
    put_dataset(bench.state, "d", Task.CLASSIFICATION, settings=settings)


def with_copies(rows: list[Row]) -> list[Row]:
    """Three samples come again under other ids, and one of them in the test split."""
    copies = [{**row, "id": name} for name, row in zip(COPIES, rows, strict=False)]
    return [*rows, *copies, {**rows[3], "id": "test", "split": "test"}]


@pytest.fixture
def dataset(bench: Bench, make_rows: MakeRows) -> Dataset:
    return bench.dataset(with_copies(make_rows(16)))


def succeeded(job: Job) -> dict[str, object]:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def test_nothing_is_left_out_unless_asked(bench: Bench, dataset: Dataset) -> None:
    succeeded(bench.run(kind=JobKind.CLEAN))
    result = succeeded(bench.run(num_train_epochs=1))
    assert (result["scored"], result["excluded"]) == (19, None)


def test_a_score_job(bench: Bench, dataset: Dataset) -> None:
    """Of those that an earlier job scored, too: they keep their score, and are in no set any more."""
    succeeded(bench.run(num_train_epochs=1))
    clean = bench.run(kind=JobKind.CLEAN)
    exclude(bench, "exact_duplicate", "leak_text")
    bench.send(dataset, [{"id": "new", "text": "lovely soft dress very", "label": 1}])
    result = succeeded(bench.run(num_train_epochs=2))
    assert result["excluded"] == {
        "clean_job": clean.id,
        "samples": 4,
        "flags": {"exact_duplicate": 3, "leak_text": 1},
        "unchecked": 1,
    }
    assert (result["train_samples"], result["scored"]) == (16, 16)
    found = {score["id"]: score for score in bench.scores([*COPIES, "s0003", "s0000", "new"])}
    assert [found[name]["set"] for name in [*COPIES, "s0003"]] == ["unscored"] * 4
    assert [found[name]["visits"] for name in [*COPIES, "s0003", "s0000", "new"]] == [1, 1, 1, 1, 3, 2]
    assert "unscored" not in {found["s0000"]["set"], found["new"]["set"]}


def test_sets_do_not_bring_them_back(bench: Bench, dataset: Dataset) -> None:
    succeeded(bench.run(num_train_epochs=1))
    bench.run(kind=JobKind.CLEAN)
    exclude(bench, "exact_duplicate")
    for expression in ("core+edge+noise", "full", "random:full", "core+edge+noise+unscored"):
        result = succeeded(bench.run(kind=JobKind.TRAIN, num_train_epochs=1, set=expression))
        assert result["train_samples"] == 16
        assert result["excluded"]["samples"] == 3  # type: ignore[index]
    job = bench.run(kind=JobKind.TRAIN, num_train_epochs=1, ids=["c0", "s0001", "s0002"])
    assert job.error is not None
    assert (job.error.code, "exclude_flags" in job.error.detail) == ("unknown_sample_ids", True)


def test_pre_training_reads_none_of_them(bench: Bench, dataset: Dataset) -> None:
    bench.run(kind=JobKind.CLEAN)
    exclude(bench, "exact_duplicate")
    domain = {"num_train_epochs": 1}
    job = bench.run(kind=JobKind.TRAIN, num_train_epochs=1, set="full", domain_pretraining=domain)
    assert succeeded(job)["domain_pretraining"]["texts"] == 16  # type: ignore[index]


def test_a_changed_sample_is_left_in(bench: Bench, dataset: Dataset) -> None:
    bench.run(kind=JobKind.CLEAN)
    exclude(bench, "exact_duplicate")
    bench.send(dataset, [{"id": "c1", "text": "something else by now", "label": 1}])
    result = succeeded(bench.run(num_train_epochs=1))
    assert result["excluded"]["samples"] == 2  # type: ignore[index]
    assert result["excluded"]["unchecked"] == 1  # type: ignore[index]
    assert result["scored"] == 17


def test_a_job_needs_a_clean_job_before_it(bench: Bench, dataset: Dataset) -> None:
    exclude(bench, "html")
    with pytest.raises(Conflict) as refused:
        bench.queue(num_train_epochs=1)
    assert refused.value.code == "not_cleaned"
    clean = bench.queue(kind=JobKind.CLEAN)
    job = bench.queue(num_train_epochs=1)
    bench.state.jobs.cancel(clean.id)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (JobState.FAILED, "not_cleaned")


def test_every_attempt_leaves_out_the_same(bench: Bench, dataset: Dataset) -> None:
    """Whatever is cleaned or set in the meantime."""
    bench.run(kind=JobKind.CLEAN)
    exclude(bench, "exact_duplicate")
    job = bench.queue(num_train_epochs=1)
    claim = bench.claim()
    version = bench.state.samples.pin(dataset, job.id)

    def left() -> list[str]:
        exclusion = exclusion_of(bench.state, dataset, claim)
        return load_job_data(bench.state, dataset, version, ScoreParams(), exclusion).train.ids

    with JobLease(claim, bench.state.jobs, bench.settings):
        first = left()
        assert set(COPIES).isdisjoint(first)
        exclude(bench)
        assert left() == first


def test_scores_of_the_left_out_stay(bench: Bench, dataset: Dataset) -> None:
    succeeded(bench.run(num_train_epochs=1))
    before = scores(bench.state, bench.state.datasets.get("d"), COPIES)
    bench.run(kind=JobKind.CLEAN)
    exclude(bench, "exact_duplicate")
    succeeded(bench.run(num_train_epochs=1))
    after = scores(bench.state, bench.state.datasets.get("d"), COPIES)
    assert [one and one["importance"] for one in after] == [one and one["importance"] for one in before]
