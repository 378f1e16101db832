"""Where scores come from: the same data the same hash, one changed label another; kept with the run."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts import JobKind, JobState
from app.ingest.writing import delete_sample
from app.services.backup import backup
from app.services.lineages import list_lineages
from app.services.verify import verify
from tests.workers.conftest import Bench, Row
from tests.workers.test_explanation import told
from workers.provenance import code_digest, data_digest
from workers.score.data import JobData, Rows

MakeRows = Callable[[int], list[Row]]


def data_of(rows: list[tuple[str, str, int]], *, split: str = "train", group: str | None = None) -> JobData:
    held = Rows(
        ordinals=np.arange(len(rows)),
        generations=np.zeros(len(rows), dtype=np.uint32),
        ids=[row[0] for row in rows],
        texts=[row[1] for row in rows],
        text_pairs=None,
        labels=np.array([row[2] for row in rows]),
        groups=[group] * len(rows),
    )
    nothing = held.take(np.zeros(0, dtype=np.int64))
    train, validation = (held, None) if split == "train" else (nothing, held)
    return JobData(train, validation, "client", ("a", "b"), 0)


ROWS = [("1", "one", 0), ("2", "two", 1), ("3", "three", 0)]


def test_the_hash_does_not_depend_on_the_order() -> None:
    assert data_digest(data_of(ROWS)) == data_digest(data_of(ROWS[::-1]))


@pytest.mark.parametrize(
    "other",
    [
        data_of([("1", "one", 1), *ROWS[1:]]),
        data_of([("1", "one!", 0), *ROWS[1:]]),
        data_of([("4", "one", 0), *ROWS[1:]]),
        data_of(ROWS[1:]),
        data_of([*ROWS, ROWS[0]]),
        data_of(ROWS, split="validation"),
        data_of(ROWS, group="q"),
        data_of([("1o", "ne", 0), *ROWS[1:]]),
    ],
)
def test_whatever_changes_is_another_hash(other: JobData) -> None:
    assert data_digest(other) != data_digest(data_of(ROWS))


def run(bench: Bench, **params: Any) -> Mapping[str, Any]:
    job = bench.run(num_train_epochs=1, **params)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    found: Mapping[str, Any] = job.result["provenance"]
    assert found["job"] == job.id
    return found


def test_a_run_says_what_it_worked_with(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset(make_rows(24))
    found = run(bench, seed=7)
    assert found["seed"] == found["params"]["seed"] == 7
    assert found["policy"] == "robust"
    assert found["dtype"] == "float32"
    assert found["data"]["samples"] == {"train": 24, "validation": 0, "test": 0}
    assert found["model"]["name"] == bench.model
    assert found["libraries"]["torch"] == importlib.metadata.version("torch")
    assert found["device"]["type"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found["code"]["gradsift"] == importlib.metadata.version("gradsift")
    assert found["code"]["sha256"] == code_digest()


def test_hashes_of_runs_lineages_and_explanations(bench: Bench, make_rows: MakeRows, tmp_path: Path) -> None:
    rows = make_rows(24)
    dataset = bench.dataset(rows)
    bench.dataset(rows[::-1], name="other")
    first, again, fresh = run(bench), run(bench), run(bench, fresh=True)
    elsewhere = run(bench, dataset="other")
    assert first["data"]["sha256"] == again["data"]["sha256"] == elsewhere["data"]["sha256"]
    bench.send(dataset, [{**rows[3], "label": 1 - int(str(rows[3]["label"]))}])
    changed = run(bench)
    assert changed["data"]["sha256"] != first["data"]["sha256"]
    bench.send(dataset, [rows[3]])
    assert run(bench)["data"]["sha256"] == first["data"]["sha256"], "what is as it was has the hash it had"

    dataset = bench.state.datasets.get("d")
    newest, oldest = list_lineages(bench.state, dataset, 20)
    assert (newest["active"], oldest["active"]) == (True, False)
    assert [one["provenance"]["job"] for one in oldest["runs"]] == [again["job"], first["job"]]
    assert oldest["runs"][1]["provenance"] == first
    assert newest["runs"][-1]["provenance"] == fresh
    assert all(one["ended"] and one["epochs"] == 1 for one in newest["runs"])
    assert len(list_lineages(bench.state, dataset, 1)) == 1
    found = told(bench, "s0000")
    assert found["lineage"] == newest["id"]
    assert found["provenance"] == newest["runs"][0]["provenance"]
    delete_sample(bench.state, dataset, "s0001")
    assert list(verify(bench.state, ["d"], lambda _: None)) == []
    backup(bench.state, str(tmp_path / "backup"), lambda _: None)
    assert len(list((tmp_path / "backup").rglob("provenance-*.json"))) == 6


def test_jobs_that_score_nothing_say_it_too(bench: Bench, make_rows: MakeRows) -> None:
    bench.dataset([{**row, "split": "test"} if i % 3 == 0 else row for i, row in enumerate(make_rows(30))])
    trained = run(bench, kind=JobKind.TRAIN, set="full")
    assert trained["data"]["samples"] == {"train": 20, "validation": 0, "test": 10}
    assert trained["policy"] is None
