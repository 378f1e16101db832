"""Pre-training on a dataset's texts in whole jobs: which texts, what is left, going on after any kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load as read_safetensors

from tests.workers.conftest import Bench, Row
from tests.workers.test_compare_job import compare, without_times
from tests.workers.test_compare_job import result_of as compared
from tests.workers.test_resume import die_after
from tests.workers.test_train_job import files_of, result_of, train, with_test
from workers.runner import run_claimed
from workers.score import checkpoint
from workers.score.checkpoint import Checkpoints
from workers.score.pace import Pace
from workers.train.domain import PHASE, DomainPretraining

ASKED: dict[str, Any] = {
    "set": "full",
    "domain_pretraining": {"num_train_epochs": 2, "learning_rate": 3e-3},
    "model_config": {"hidden_dropout_prob": 0.2},
    "num_train_epochs": 1,
}


@pytest.fixture
def rows(make_rows: Callable[[int], list[Row]]) -> list[Row]:
    """40 to train on and 8 to test on, and 24 texts without a label."""
    return [*with_test(make_rows(48), 8), *({"id": f"u{i}", "text": f"rough coat {i}"} for i in range(24))]


def test_the_encoder_learns_from_all_train_texts_and_no_others(
    bench: Bench, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(rows)
    read: list[list[str]] = []
    phases: list[str] = []
    trained, add = DomainPretraining._trained, Pace.add

    def watching(domain: DomainPretraining, pace: Pace) -> dict[str, Any]:
        read.append(domain._texts.ids)
        return trained(domain, pace)

    def noting(pace: Pace, step: int, *told: Any) -> None:
        phases.append(pace.phase)
        add(pace, step, *told)
        assert step <= pace.total

    monkeypatch.setattr(DomainPretraining, "_trained", watching)
    monkeypatch.setattr(Pace, "add", noting)
    job = train(bench, **ASKED, validation_fraction=0.2)
    result = result_of(job)
    assert len(read[0]) == 40 - 8 + 24, "neither test texts nor those held out to validate"
    assert not {row["id"] for row in rows if row.get("split") == "test"} & set(read[0])
    told = result["domain_pretraining"]
    assert (told["objective"], told["fresh_head"], told["texts"], told["steps"]) == ("masked", True, 56, 14)
    assert told["last_loss"] < told["first_loss"]
    assert result["steps"] == 4
    assert phases == [PHASE] * 14 + ["training"] * 4
    card = files_of(bench, job)["model/README.md"].decode()
    assert "14 steps of masked language modelling on 56 texts" in card
    plain = train(bench, **ASKED | {"domain_pretraining": None}, validation_fraction=0.2)
    assert result_of(plain)["domain_pretraining"] is None
    ours, theirs = (read_safetensors(files_of(bench, one)["model/model.safetensors"]) for one in (job, plain))
    assert ours.keys() == theirs.keys(), "a classifier as any other"
    assert not torch.allclose(ours["classifier.weight"], theirs["classifier.weight"])


def test_a_killed_job_leaves_the_model_of_an_undisturbed_one(
    short_lease: Bench, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the pre-training, at its end, behind it, and within the training; with adapters on top."""
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)  # one after each step
    bench.dataset(rows)
    asked = ASKED | {"peft": {"r": 2}, "domain_pretraining": {"max_steps": 5, "mlm_probability": 0.3}}
    calm = train(bench, **asked)
    wanted = files_of(bench, calm)["model/model.safetensors"]
    assert result_of(calm)["domain_pretraining"]["steps"] == 5
    for owner, method, calls in (
        *((Pace, "add", 3), (DomainPretraining, "_trained", 1)),
        *((Checkpoints, "write", 7), (Pace, "add", 8)),
    ):
        job = bench.queue(kind=calm.kind, **asked)
        die_after(bench, monkeypatch, owner, method, calls)
        with monkeypatch.context() as patch:
            if calls == 8:
                patch.setattr(DomainPretraining, "_trained", None)  # what is done is not done again
            run_claimed(bench.state, bench.settings, bench.claim())
        ended = bench.state.jobs.get(job.id)
        assert ended.attempt == 2
        assert files_of(bench, ended)["model/model.safetensors"] == wanted, (method, calls)
        found, calmly = (dict(result_of(one)["domain_pretraining"]) for one in (ended, calm))
        assert found | {"seconds": 0} == calmly | {"seconds": 0}


def test_all_models_of_a_comparison_begin_with_the_encoder(
    short_lease: Bench, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    monkeypatch.setattr(checkpoint, "COST_SHARE", 0)
    bench.dataset(rows)
    asked: dict[str, Any] = {"subsets": ["full"], "domain_pretraining": {"max_steps": 4}, "max_steps": 3}
    calm = compared(compare(bench, **asked))
    assert (calm["steps"], calm["domain_pretraining"]["steps"]) == (2 * 3, 4)
    plain = compared(compare(bench, **asked | {"domain_pretraining": None}))
    assert plain["subsets"][0]["runs"][0]["loss"] != calm["subsets"][0]["runs"][0]["loss"]
    job = bench.queue(kind=compare(bench, **asked).kind, **{"seeds": 2, "num_train_epochs": 1} | asked)
    die_after(bench, monkeypatch, Pace, "add", 9)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert ended.attempt == 2
    found = without_times(compared(ended))
    assert found["subsets"] == without_times(calm)["subsets"]


def test_what_fails_behind_it_fails_before_it(
    bench: Bench, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dataset(rows)
    monkeypatch.setattr(DomainPretraining, "_trained", None)
    failed = train(bench, **ASKED, peft={"target_modules": ["nowhere"]})
    assert failed.error is not None
    assert failed.error.code == "invalid_peft"
