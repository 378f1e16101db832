"""Why a sample is where it is, after a real job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.contracts import JobKind, Verdict
from app.services.explanation import explain
from app.services.ranked_versions import RankedVersions
from app.services.reviews import add_review
from app.settings import Settings
from app.store.state import open_state
from tests.workers.conftest import Bench, Row
from tests.workers.test_robust_sets import reviews_with_slips

EPOCHS = 3


def with_validation(rows: list[Row]) -> list[Row]:
    """The last 40 as validation samples."""
    return [*rows[:-40], *({**row, "split": "validation"} for row in rows[-40:])]


def told(bench: Bench, sample_id: str) -> Mapping[str, Any]:
    return explain(bench.state, RankedVersions(), bench.state.datasets.get("d"), sample_id)


def test_a_mislabelled_sample_is_explained(bench: Bench) -> None:
    bench.dataset(with_validation(reviews_with_slips()))
    job = bench.run(num_train_epochs=EPOCHS, learning_rate=3e-3)
    found = next(one for one in (told(bench, f"s{i:03}") for i in range(24)) if one["set"] == "noise")
    assert (found["reason"], found["policy"], found["job"]) == ("mislabelled", "robust", job.id)
    assert found["rule"].startswith("Its label is more probably wrong than right")
    assert f"{found['noise_probability']:.0%}" in found["rule"]
    assert found["suggested_label"] == 1 - found["label"]
    (score,) = bench.scores([found["id"]])
    assert [(visit["run"], visit["epoch"]) for visit in found["trajectory"]] == [(1, 1), (1, 2), (1, 3)]
    norms = [visit["grad_norm"] for visit in found["trajectory"]]
    assert sum(norms) / EPOCHS == pytest.approx(found["importance"], rel=1e-12)
    assert found["importance"] == score["importance"]
    rank = found["rank"]
    assert 1 <= rank["within_label"] <= rank["overall"] <= rank["of"] == 200
    assert score["percentile"] == pytest.approx(100 * (201 - rank["overall"]) / 200)
    assert found["id"] not in {near["id"] for near in found["neighbours"]}
    similarities = [near["similarity"] for near in found["neighbours"]]
    assert len(similarities) == 10
    assert similarities == sorted(similarities, reverse=True)
    assert pull(found) < 0 < pull(told(bench, "s100"))


def pull(found: Mapping[str, Any]) -> float:
    """Of the validation samples that it moves most: whether training on it does more good or harm."""
    helps, hurts = ([one["alignment"] for one in found[name]] for name in ("helps", "hurts"))
    assert all(0 < value <= 1 + 1e-9 for value in helps)
    assert all(-1 - 1e-9 <= value < 0 for value in hurts)
    assert helps == sorted(helps, reverse=True)
    assert hurts == sorted(hurts)
    return float(sum(helps) + sum(hurts))


def test_what_has_changed_since_the_job_is_left_out(bench: Bench) -> None:
    rows = with_validation(reviews_with_slips())
    dataset = bench.dataset(rows)
    bench.run(num_train_epochs=1)
    before = told(bench, "s100")
    near = before["neighbours"][0]["id"]
    bench.send(dataset, [{"id": near, "text": "quite another text", "label": 0}])
    assert near not in {one["id"] for one in told(bench, "s100")["neighbours"]}
    add_review(bench.state, bench.state.datasets.get("d"), "s100", Verdict.CORRECT, None)
    assert told(bench, "s100")["review"] == "correct"
    changed = told(bench, near)
    assert (changed["set"], changed["rank"], changed["trajectory"]) == ("unscored", None, [])
    assert changed["rule"].startswith("It has no place in the present sets")
    validation = told(bench, str(rows[-1]["id"]))
    assert (validation["set"], len(validation["neighbours"]), validation["helps"]) == ("unscored", 10, [])
    assert validation["model_label"] in (0, 1)


def test_a_job_replaces_the_explanations_of_sets_that_are_gone(settings: Settings, tiny_model: Path) -> None:
    settings = settings.model_copy(update={"set_versions_kept": 2})
    bench = Bench(open_state(settings), settings, tiny_model)
    bench.dataset(with_validation(reviews_with_slips()))
    jobs = [bench.run(num_train_epochs=1, policy="seed") for _ in range(3)]
    uid = bench.state.datasets.get("d").uid
    names = bench.state.results.folder(uid).names()
    assert {name.split("/")[0] for name in names if "explanation" in name} == {job.id for job in jobs[1:]}
    found = told(bench, "s001")
    assert len(found["neighbours"]) == 10  # by what the last layer read: this policy does not look at texts
    assert len(found["trajectory"]) == 3
    bench.state.close()


def test_a_grown_core_is_explained_by_its_last_round(bench: Bench) -> None:
    bench.dataset(with_validation(reviews_with_slips()))
    bench.run(kind=JobKind.GROW, num_train_epochs=4, learning_rate=3e-3, max_rounds=1)
    found = told(bench, "s100")
    assert (found["policy"], len(found["neighbours"]), len(found["trajectory"])) == ("robust", 10, 1)
    assert found["model_label"] is not None
    assert pull(found) > 0
