"""`params.seeds`: several runs of the whole training in one job."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from app.contracts import Job, JobState
from app.services.datasets import delete_dataset
from app.services.job_files import job_files, open_job_file
from app.services.verify import verify
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import assert_same, die_after, sums
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.book import ScoreBook
from workers.score.books import Books
from workers.score.checkpoint import Checkpoints

MakeRows = Callable[[int], list[Row]]
NOISY = {"model_config": {"hidden_dropout_prob": 0.2}}


def succeeded(job: Job) -> Mapping[str, Any]:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def by_run(bench: Bench, job: Job) -> pa.Table:
    name = succeeded(job)["stability"]["file"]
    size, chunks = open_job_file(bench.state, job.id, name)
    content = b"".join(chunks)
    assert len(content) == size
    return pq.read_table(io.BytesIO(content))


def test_three_seeds_are_three_jobs_in_a_row(bench: Bench, make_rows: MakeRows) -> None:
    """To the bit: same visits, same order."""
    for name in ("once", "thrice"):
        bench.dataset(make_rows(24), name=name)
    result = succeeded(bench.run("once", seeds=3, seed=5, **NOISY))
    for seed in (5, 6, 7):
        succeeded(bench.run("thrice", seed=seed, **NOISY))
    assert_same(sums(bench, "once", 24), sums(bench, "thrice", 24))
    assert set(sums(bench, "once", 24)["visits"]) == {6}
    assert [(held["run"], held["epoch"]) for held in result["epochs"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 2),
    ]
    assert result["steps"] == 18
    assert list(verify(bench.state, [], lambda _: None)) == []


def test_the_job_says_how_far_its_runs_agree(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(24)
    bench.dataset(rows)
    job = bench.run(seeds=2, **NOISY)
    told, table = succeeded(job)["stability"], by_run(bench, job)
    assert table["id"].to_pylist() == [row["id"] for row in rows]
    runs = np.array(table["runs"].to_pylist())
    assert runs.shape == (24, 2)
    scores = [score["importance"] for score in bench.scores([str(row["id"]) for row in rows])]
    np.testing.assert_allclose(table["importance"], scores, rtol=1e-12)
    np.testing.assert_allclose(runs.mean(axis=1), scores, rtol=1e-12)
    low, high = table["low"].to_numpy(), table["high"].to_numpy()
    half = 12.7062 * np.abs(runs[:, 0] - runs[:, 1]) / 2
    np.testing.assert_allclose(high - low, 2 * half, rtol=1e-4)
    assert told["runs"] == 2
    rho = spearmanr(runs[:, 0], runs[:, 1]).statistic
    assert told["rank_correlation"] == {"mean": pytest.approx(rho), "least": pytest.approx(rho)}
    relative = float(np.median(half / np.array(scores)))
    assert told["interval"]["relative_half_width"] == pytest.approx(relative, rel=1e-4)


def test_one_seed_says_nothing_of_it_and_leaves_no_file(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(12))
    job = bench.run()
    assert "stability" not in succeeded(job)
    assert job_files(bench.state, job.id) == []


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (ScoreBook, "flush", 3),
        (Checkpoints, "save", 14),
        (Books, "end_run", 1),
        (ScoreBook, "close", 1),
    ],
    ids=["in run 1", "checkpoint in run 2", "between runs", "scores closed"],
)
def test_a_killed_job_ends_as_an_undisturbed_one(
    short_lease: Bench,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    calls: int,
) -> None:
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one after each step
    asked = {"seeds": 2, "response": "vector", "projection_dim": 32, **NOISY}
    bench.dataset(make_rows(40), name="calm")
    calm = bench.run("calm", **asked)
    bench.dataset(make_rows(40))
    job = bench.queue(**asked)
    die_after(bench, monkeypatch, owner, method, calls)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert ended.attempt == 2
    assert_same(sums(bench, "d", 40), sums(bench, "calm", 40))
    assert by_run(bench, ended).equals(by_run(bench, calm))
    for part in ("epochs", "steps", "stability"):
        assert succeeded(ended)[part] == succeeded(calm)[part]
    assert succeeded(ended)["response"]["coherence"] == succeeded(calm)["response"]["coherence"]


def test_the_files_go_with_the_dataset_and_are_none_of_a_job_that_failed(
    bench: Bench, make_rows: MakeRows
) -> None:
    dataset = bench.dataset(make_rows(12))
    job = bench.run(seeds=2)
    names = [file.name for file in job_files(bench.state, job.id)]
    assert names == ["importance-by-run.parquet"]
    delete_dataset(bench.state, bench.settings, bench.state.datasets.get(dataset.name))
    assert job_files(bench.state, job.id) == []
