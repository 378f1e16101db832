"""`response=vector`: each sample's mean gradient, projected, accumulated outside Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from app.contracts import Job, JobState
from app.services.datasets import delete_dataset
from models.encoders import load_classifier
from models.gradients import SeededProjection
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import die_after
from workers.runner import run_claimed
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.pipeline import ScoreJob

MakeRows = Callable[[int], list[Row]]
VECTOR = {"response": "vector", "projection_dim": 64, "model_config": {"hidden_dropout_prob": 0.2}}


def artifact(bench: Bench, job: Job) -> pa.Table:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return pq.read_table(Path(bench.settings.data_url) / job.result["response"]["artifact"])


def assert_same(found: pa.Table, wanted: pa.Table) -> None:
    """To the bit."""
    assert found.column_names == wanted.column_names
    for name in wanted.column_names:
        assert found[name].equals(wanted[name]), name


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [
        (ScoreBook, "flush", 1),
        (ScoreBook, "flush", 7),
        (Checkpoints, "save", 1),
        (ScoreJob, "_keep_responses", 1),
    ],
    ids=["first flush", "flush in epoch 2", "checkpoint", "file written"],
)
def test_a_killed_job_leaves_the_file_of_an_undisturbed_one(
    short_lease: Bench,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    calls: int,
) -> None:
    bench = short_lease
    bench.dataset(make_rows(40), name="calm")
    expected = artifact(bench, bench.run("calm", **VECTOR))
    bench.dataset(make_rows(40))
    job = bench.queue(**VECTOR)
    die_after(bench, monkeypatch, owner, method, calls)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).attempt == 2
    assert_same(artifact(bench, bench.state.jobs.get(job.id)), expected)


def test_it_is_the_projection_of_the_mean_gradient(
    bench: Bench, make_rows: MakeRows, tiny_model: Path
) -> None:
    """With learning rate 0 every visit has the same gradient: the mean is that gradient."""
    rows = make_rows(12)
    bench.dataset(rows)
    job = bench.run(response="vector", projection_dim=512, learning_rate=0.0, seed=7)
    table = artifact(bench, job)
    assert table["id"].to_pylist() == [row["id"] for row in rows]
    classifier = load_classifier(str(tiny_model), num_labels=2, seed=7)
    classifier.model.eval()
    inputs = classifier.tokenizer(rows[3]["text"], truncation=True, max_length=16, return_tensors="pt")
    logits = classifier.model(**inputs).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor([rows[3]["label"]])).backward()
    projection = SeededProjection(512, seed=0)
    expected = sum(
        projection._of_values(name, parameter.shape, parameter.grad.unsqueeze(0))
        for name, parameter in classifier.model.named_parameters()
        if parameter.grad is not None
    )
    assert isinstance(expected, torch.Tensor)
    found = np.array(table["mean_projection"][3].as_py(), dtype=np.float64) * table["scale"][3].as_py()
    np.testing.assert_allclose(found, expected[0].numpy(), atol=2e-3 * float(expected.abs().max()))
    scores = bench.scores([str(row["id"]) for row in rows])
    np.testing.assert_allclose(table["mean_norm"], [score["importance"] for score in scores], rtol=1e-6)
    coherence = table["coherence"].to_numpy()
    assert np.abs(coherence - 1).max() < 5 / np.sqrt(512)
    assert job.result is not None
    assert job.result["response"]["visits"] == 24
    assert job.result["response"]["coherence"]["median"] == pytest.approx(np.median(coherence))


def test_a_lineage_goes_on_and_changed_content_starts_anew(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(16)
    dataset = bench.dataset(rows)
    first = artifact(bench, bench.run(**VECTOR))
    assert set(first["visits"].to_pylist()) == {2}
    bench.run(model_config=VECTOR["model_config"], seed=1)  # of the lineage, but without projections
    bench.send(dataset, [{**rows[0], "text": "another text"}])
    second = bench.run(**VECTOR, seed=2)
    assert artifact(bench, second)["visits"].to_pylist() == [2] + [4] * 15
    other = bench.run(**(VECTOR | {"projection_dim": 32}), seed=3)
    assert set(artifact(bench, other)["visits"].to_pylist()) == {2}
    third = bench.run(**VECTOR, seed=4)
    assert artifact(bench, third)["visits"].to_pylist() == [4] + [6] * 15
    folder = (Path(bench.settings.data_url) / third.result["response"]["artifact"]).parent  # type: ignore[index]
    assert sorted(file.name for file in folder.iterdir()) == [
        "run-000003-dim-64.parquet",
        "run-000004-dim-32.parquet",
        "run-000005-dim-64.parquet",
    ]
    delete_dataset(bench.state, bench.settings, bench.state.datasets.get("d"))
    assert not folder.parent.exists()


def test_without_it_nothing_is_written(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(12))
    job = bench.run()
    assert job.result is not None
    assert "response" not in job.result
    assert not (Path(bench.settings.data_url) / "responses").exists()
