"""A `train` job as a run at Weights & Biases: written by wandb itself, without a network."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import GradSiftError
from app.settings import Settings
from app.up import everything
from app.up.everything import require_wandb
from tests.workers.conftest import Bench, Row
from tests.workers.test_train_job import events_of, files_of, result_of, train, with_test
from workers.train import wandb_run

wandb = pytest.importorskip("wandb")
BLOCK = 32_768
MakeRows = Callable[[int], list[Row]]


@pytest.fixture
def told(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_rows: MakeRows) -> Bench:
    """A bench whose jobs go to a project, kept in `tmp_path`."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    bench.settings = bench.settings.model_copy(update={"wandb_project": "shop"})
    bench.dataset(with_test(make_rows(40), 10))
    return bench


def records(folder: Path) -> Iterator[Any]:
    """What wandb would send."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.rglob("*.wandb")
    content, at, held = file.read_bytes(), 7, b""
    while at < len(content):  # LevelDB's log: checksum, length, whether it is a record's last part; blocks
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, part = struct.unpack_from("<HB", content, at + 4)
        held += content[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):
            yield Record.FromString(held)
            held = b""


def test_a_job_is_a_run_with_its_curves(told: Bench, tmp_path: Path) -> None:
    job = train(told, set="full", num_train_epochs=2)
    result = result_of(job)
    found = list(records(tmp_path))
    (run,) = (one.run for one in found if one.WhichOneof("record_type") == "run")
    assert (run.project, run.run_id, run.run_group, run.job_type) == ("shop", job.id, "d", "train")
    config = {one.key: json.loads(one.value_json) for one in run.config.update}
    assert config["num_train_epochs"] == 2
    drawn = {
        (name, int(row["_step"]), row[name])
        for one in found
        if one.WhichOneof("record_type") == "history"
        for row in [
            {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
        ]
        for name in row
        if "/" in name
    }
    expected = {(name, step) for name, step, _ in events_of(files_of(told, job))}
    assert {(name, step) for name, step, _ in drawn} == expected
    assert ("test/accuracy", result["steps"], result["test"]["accuracy"]) in drawn
    assert "lovely" not in str(found)


def test_no_id_of_a_sample_is_told(told: Bench, tmp_path: Path) -> None:
    result_of(train(told, ids=["s0001", "s0000", "s0002"], num_train_epochs=1))
    sent = str(list(records(tmp_path)))
    assert "num_train_epochs" in sent
    assert "s0001" not in sent


def test_a_server_that_is_away_fails_no_job(
    told: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_run, "PATIENCE_SECONDS", 2.0)
    result_of(train(told, set="full", num_train_epochs=1))
    assert "missing at Weights & Biases" in capsys.readouterr().out


def test_without_the_setting_nothing_is_told(bench: Bench, make_rows: MakeRows, monkeypatch: Any) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("a run was begun"))
    bench.dataset(make_rows(20))
    result_of(train(bench, set="full", num_train_epochs=1))


def test_the_package_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "find_spec", lambda _: None)
    require_wandb(Settings())
    with pytest.raises(GradSiftError) as caught:
        require_wandb(Settings(wandb_project="shop"))
    assert caught.value.code == "wandb_not_installed"
