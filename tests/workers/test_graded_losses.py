"""`train` and `compare` with losses of grades: reproducible by transformers alone, and after kills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.contracts import Task
from models.ranking import ranking_metrics
from tests.workers.conftest import Bench
from tests.workers.test_compare_job import compare, graded
from tests.workers.test_resume import die_after
from tests.workers.test_train_job import files_of, result_of, train
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.pace import Pace

ASKED: dict[str, Any] = {"set": "full", "loss": "listwise", "num_train_epochs": 4, "learning_rate": 3e-3}


def test_the_stored_model_ranks_as_reported(bench: Bench, tmp_path: Path) -> None:
    rows = graded()
    bench.dataset(rows, task=Task.RELEVANCE)
    untrained = result_of(train(bench, **ASKED | {"learning_rate": 0.0, "num_train_epochs": 1}))
    job = train(bench, **ASKED)
    reported = result_of(job)["test"]
    assert reported["ndcg@10"] > untrained["test"]["ndcg@10"]
    for name, content in files_of(bench, job).items():
        path = tmp_path / "got" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder = tmp_path / "got" / "model"
    assert f"{reported['ndcg@10']:.4f}" in (folder / "README.md").read_text(encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    test = [row for row in rows if row["split"] == "test"]
    texts, pairs = [row["text"] for row in test], [row["text_pair"] for row in test]
    with torch.no_grad():
        logits = model(**tokenizer(texts, pairs, truncation=True, padding=True, return_tensors="pt")).logits
    grades = torch.tensor([float(model.config.id2label[i]) for i in range(logits.shape[1])])
    queries = np.unique([row["group"] for row in test], return_inverse=True)[1]
    scores = (logits.softmax(dim=1) @ grades).numpy()
    labels = np.array([row["label"] for row in test])
    # Scores that differ by rounding alone are in another order on another machine, or in another batch.
    close = np.round(scores, 5)
    worst, best = (ranking_metrics(close + sign * 1e-6 * labels, labels, queries) for sign in (-1, 1))
    assert worst.ndcg[10].mean - 1e-6 <= reported["ndcg@10"] <= best.ndcg[10].mean + 1e-6
    assert worst.average_precision.mean - 1e-6 <= reported["map"] <= best.average_precision.mean + 1e-6


def test_a_killed_job_leaves_the_model_of_an_undisturbed_one(
    short_lease: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one after each step
    bench.dataset(graded(), task=Task.RELEVANCE)
    asked = ASKED | {"loss": "pairwise", "num_train_epochs": 2, "validation_fraction": 0.2}
    calm = train(bench, **asked)
    epochs = result_of(calm)["epochs"]
    assert epochs[-1]["validation_loss"] != epochs[-1]["validation"]["loss"]
    bench.queue(kind=calm.kind, **asked)
    die_after(bench, monkeypatch, Pace, "add", 7)
    run_claimed(bench.state, bench.settings, claim := bench.claim())
    ended = bench.state.jobs.get(claim.job.id)
    assert ended.attempt == 2
    assert result_of(ended)["epochs"] == epochs
    name = "model/model.safetensors"
    assert files_of(bench, ended)[name] == files_of(bench, calm)[name]


def test_a_comparison_by_a_loss_within_queries(bench: Bench) -> None:
    """Query groups that do not divide the batch: as many steps as batches of whole queries."""
    rows = [row for row in graded() if not row["id"].endswith(("-6", "-7"))]
    bench.dataset(rows, task=Task.RELEVANCE)
    result = result_of(compare(bench, subsets=["full"], loss="pairwise", num_train_epochs=2))
    (full,) = result["subsets"]
    assert full["samples"] == 12 * 6
    assert full["steps"] == result["steps"] / 2 == 2 * 12
    lone = [{**row, "group": None} if row["split"] == "train" else row for row in graded()]
    bench.dataset(lone, name="lone", task=Task.RELEVANCE)
    failed = train(bench, "lone", **ASKED)
    assert failed.error is not None
    assert failed.error.code == "nothing_to_rank"
