"""`train` in a whole job: what it trains on, the model that it leaves, and going on after any kill."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from app.contracts import Job, JobKind, JobState, Task
from app.errors import NotFound
from app.services.job_files import job_files, open_job_file
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import die_after
from tests.workers.test_robust_sets import COUNT, reviews_with_slips
from workers.lease import JobCancelled
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.checkpoint import Checkpoints
from workers.score.pace import Pace
from workers.train import fitting
from workers.train.pipeline import TrainJob

MakeRows = Callable[[int], list[Row]]
FRESH_PROCESS = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, rows = sys.argv[1], json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
inputs = tokenizer([row["text"] for row in rows], truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
labels = torch.tensor([model.config.label2id[str(row["label"])] for row in rows])
right = (logits.argmax(dim=1) == labels).float().mean().item()
loss = torch.nn.functional.cross_entropy(logits, labels).item()
print(json.dumps([right, loss]))
"""


def train(bench: Bench, dataset: str = "d", **params: Any) -> Job:
    return bench.run(dataset, kind=JobKind.TRAIN, **params)


def result_of(job: Job) -> Mapping[str, Any]:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def files_of(bench: Bench, job: Job) -> dict[str, bytes]:
    return {
        file.name: b"".join(open_job_file(bench.state, job.id, file.name)[1])
        for file in job_files(bench.state, job.id)
    }


def events_of(files: Mapping[str, bytes]) -> list[tuple[str, int, float]]:
    """Tag, step and value of each scalar that TensorBoard would find, in the file's order."""
    (name,) = (name for name in files if name.startswith("tensorboard/"))
    assert "tfevents" in name
    content, found, at = files[name], [], 0
    while at < len(content):  # records: length, checksum, content, checksum
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found += [(one.tag, event.step, one.simple_value) for one in event.summary.value]
        at += length + 16
    return found


def with_test(rows: list[Row], count: int) -> list[Row]:
    """The last ones are the test split."""
    return [*rows[:-count], *({**row, "split": "test"} for row in rows[-count:])]


def graded() -> list[Row]:
    """Twelve queries of eight products; the grade is in the words."""
    words = {0: "rough bad", 1: "good", 2: "lovely love soft"}
    rows: list[Row] = []
    for query in range(24):
        for item in range(8):
            grade = (query + item) % 3
            row = {"id": f"q{query}-{item}", "text": "dress", "text_pair": f"{words[grade]} {item}"}
            split = "test" if query >= 12 else "train"
            rows.append({**row, "label": grade, "group": f"q{query}", "split": split})
    return rows


def test_the_model_loads_by_transformers_alone_and_does_as_reported(bench: Bench, tmp_path: Path) -> None:
    rows = with_test(reviews_with_slips(), 40)
    bench.dataset(rows)
    bench.run(num_train_epochs=1)
    job = train(bench, num_train_epochs=4, learning_rate=3e-3)
    result = result_of(job)
    assert (result["set"], result["set_version"], result["train_samples"]) == ("core", 1, 100)
    assert result["lineage"] == bench.state.datasets.get("d").lineage
    assert result["steps"] == 4 * 13
    assert len(result["epochs"]) == 4
    assert result["epochs"][-1]["train_loss"] < result["epochs"][0]["train_loss"]
    assert result["validation"] is None
    files = files_of(bench, job)
    assert sorted(files) == result["files"]
    for name, content in files.items():
        path = tmp_path / "got" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    ran = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, str(tmp_path / "got" / "model")],
        input=json.dumps(rows[-40:]),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    right, loss = json.loads(ran.stdout)
    assert right == pytest.approx(result["test"]["accuracy"], abs=1e-6)
    assert loss == pytest.approx(result["test"]["loss"], rel=1e-4)
    assert result["test"]["accuracy"] > 0.7
    card = files["model/README.md"].decode()
    assert f"{result['test']['accuracy']:.4f}" in card
    assert 0.7 < result["test"]["auc"] <= 1
    events = events_of(files)
    losses = {step: value for tag, step, value in events if tag == "train/loss"}
    assert list(losses) == list(range(1, 53))
    first = result["epochs"][0]
    assert (first["step"], np.mean([losses[step] for step in range(1, 13)])) == (
        13,
        pytest.approx(first["train_loss"], rel=0.1),  # the last batch is a smaller one
    )
    assert {tag for tag, _, _ in events} == {
        *("train/loss", "train/learning_rate"),
        *(f"test/{name}" for name in ("loss", "accuracy", "macro_f1", "auc")),
    }
    assert job.id in card
    config = json.loads(files["model/config.json"])
    assert config["id2label"] == {"0": "0", "1": "1"}


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_adapters_leave_a_whole_model(bench: Bench, make_rows: MakeRows, method: str) -> None:
    bench.dataset(with_test(make_rows(24), 4))
    job = train(bench, set="full", peft={"method": method, "r": 4}, num_train_epochs=1)
    assert result_of(job)["test"]["count"] == 4
    weights = files_of(bench, job)["model/model.safetensors"]
    assert b"lora" not in weights
    assert b"query.weight" in weights


def test_what_is_trained_on(bench: Bench) -> None:
    dataset = bench.dataset([*reviews_with_slips(), {"id": "plain", "text": "no label"}])
    sizes = result_of(bench.run(num_train_epochs=1, core_fraction=0.25))["sets"]
    bench.send(dataset, [{"id": "s100", "text": "another text", "label": 1}])  # it is of no set any more
    was = next(score["set"] for score in bench.scores(["s100"]))
    assert was == "unscored"
    lost = Counter(bench.state.sets.versions(bench.state.datasets.get("d"))[0].sizes)
    asked = {
        "core": lost["core"],
        "core+edge": lost["core"] + lost["edge"],
        "noise+core": lost["noise"] + lost["core"],
        "full": COUNT,
        "random:core": lost["core"],
        "random:full": COUNT,
    }
    assert sum(lost.values()) == sum(sizes.values()) - 1
    for text, count in asked.items():
        result = result_of(train(bench, set=text, num_train_epochs=1))
        assert result["train_samples"] == count, text
        assert result["set_version"] == (None if text.endswith("full") else 1)
        assert result["skipped_unlabelled"] == 1


def test_random_is_drawn_by_the_seed_and_keeps_the_labels_shares(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(reviews_with_slips())
    bench.run(num_train_epochs=1, core_fraction=0.25)
    drawn: list[Any] = []
    find = TrainJob._chosen

    def watching(job: TrainJob, dataset: Any, data: Any) -> Any:
        positions = find(job, dataset, data)
        drawn.append((tuple(positions), Counter(data.train.labels[positions].tolist())))
        return positions

    monkeypatch.setattr(TrainJob, "_chosen", watching)
    for seed in (1, 1, 2):
        result_of(train(bench, set="random:core", num_train_epochs=1, seed=seed))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0][0])) == 60
    assert drawn[0][1] == {0: 30, 1: 30}


def test_a_list_of_ids(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset([*make_rows(20), {"id": "t", "text": "of test", "label": 1, "split": "test"}])
    result = result_of(train(bench, ids=["s0001", "s0000", "s0002", "s0001"], num_train_epochs=1))
    assert (result["set"], result["set_version"], result["train_samples"]) == ("ids", None, 3)
    assert result["test"]["count"] == 1
    failed = train(bench, ids=["s0001", "t", "nobody"])
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "unknown_sample_ids"
    assert "'t', 'nobody'" in failed.error.detail


def test_sets_that_hold_nothing(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(20))
    with pytest.raises(NotFound) as caught:
        train(bench)
    assert caught.value.code == "no_sets_yet"
    bench.run(policy="seed", noise_fraction=0.0)
    failed = train(bench, set="noise")
    assert failed.error is not None
    assert failed.error.code == "empty_set"
    assert job_files(bench.state, failed.id) == []


def test_the_version_is_that_of_when_the_job_was_sent(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(40))
    bench.run(core_fraction=0.5)
    waiting = bench.queue(kind=JobKind.TRAIN)
    assert waiting.params["version"] == 1
    bench.state.jobs.cancel(waiting.id)
    bench.run(core_fraction=0.25)
    for asked, trained_on in ((1, 20), (2, 10), (None, 10)):
        result = result_of(train(bench, version=asked, num_train_epochs=1))
        assert (result["set_version"], result["train_samples"]) == (asked or 2, trained_on)
    with pytest.raises(NotFound) as caught:
        train(bench, version=3)
    assert caught.value.code == "unknown_version"


def test_a_killed_job_leaves_the_model_of_an_undisturbed_one(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it knows its samples, after a step, in the second epoch, after the last step, before its end."""
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one after each step
    asked = {
        "set": "full",
        "model_config": {"hidden_dropout_prob": 0.2},
        "validation_fraction": 0.2,
        "load_best_model_at_end": True,
        "num_train_epochs": 3,
    }
    bench.dataset(with_test(make_rows(48), 8))
    calm = train(bench, **asked)
    wanted = files_of(bench, calm)
    kills = (
        *((Checkpoints, "write", 1), (Checkpoints, "write", 2), (Pace, "add", 7), (Pace, "add", 12)),
        *((TrainJob, "_evaluated", 2), (TrainJob, "_save", 1), (TrainJob, "_keep_events", 1)),
        (TrainJob, "run", 1),
    )
    for owner, method, calls in kills:
        job = bench.queue(kind=JobKind.TRAIN, **asked)
        die_after(bench, monkeypatch, owner, method, calls)
        run_claimed(bench.state, bench.settings, bench.claim())
        ended = bench.state.jobs.get(job.id)
        assert ended.attempt == 2
        found = files_of(bench, ended)
        assert found["model/model.safetensors"] == wanted["model/model.safetensors"], (method, calls)
        assert sorted(found) == result_of(ended)["files"]
        assert len(found) == len(wanted)
        assert events_of(found) == events_of(wanted), "no point is doubled or missing"
        for part in ("epochs", "steps", "test", "validation", "train_samples"):
            assert result_of(ended)[part] == result_of(calm)[part], part


def test_a_cancelled_job_leaves_no_model(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(make_rows(40))
    job = bench.queue(kind=JobKind.TRAIN, set="full")

    def cancelled(*_: Any) -> None:
        raise JobCancelled

    monkeypatch.setattr(TrainJob, "_evaluated", cancelled)
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.CANCELLED
    assert job_files(bench.state, job.id) == []


def test_relevance_is_measured_by_query_too_and_long_trainings_keep_few_points(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MOST_POINTS", 4)
    bench.dataset(graded(), task=Task.RELEVANCE)
    job = train(bench, set="full", validation_fraction=0.2, max_steps=14)
    result = result_of(job)
    for split in ("validation", "test"):
        assert all(0 < result[split][name] <= 1 for name in ("auc", "ndcg@5", "ndcg@10", "mrr", "map"))
    steps = [step for tag, step, _ in events_of(files_of(bench, job)) if tag == "train/learning_rate"]
    assert steps == [4, 8, 10, 12, 14] == sorted({4, 8, 12} | {one["step"] for one in result["epochs"]})


def test_early_stopping_and_max_steps(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(40))
    stopped = result_of(
        train(bench, set="full", num_train_epochs=9, learning_rate=0.0, early_stopping_patience=1)
    )
    assert (len(stopped["epochs"]), stopped["validation_source"]) == (2, "cut")
    assert stopped["train_samples"] == 36
    limited = result_of(train(bench, set="full", max_steps=7, optim="adafactor", label_smoothing_factor=0.1))
    assert (limited["steps"], len(limited["epochs"])) == (7, 2)
