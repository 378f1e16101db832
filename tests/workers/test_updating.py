"""New samples are scored by going on with the model, not by scoring all again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.contracts import Job, JobState
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import die_after
from tests.workers.test_train_job import with_test
from workers.runner import run_claimed
from workers.score.book import ScoreBook

MakeRows = Callable[[int], list[Row]]
KEPT: dict[str, Any] = {"policy": "seed", "num_train_epochs": 1, "keep_model": True}
AGAIN: dict[str, Any] = {"policy": "seed", "num_train_epochs": 2, "update": True}


def result_of(job: Job) -> dict[str, Any]:
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def visits(bench: Bench, ids: list[str]) -> list[int]:
    return [score["visits"] for score in bench.scores(ids)]


def test_only_new_and_changed_samples_are_scored(bench: Bench, make_rows: MakeRows) -> None:
    rows = with_test(make_rows(80), 20)
    dataset = bench.dataset([*rows[:40], *rows[60:]])
    first = bench.run(**KEPT, core_fraction=0.5, noise_fraction=0.0)
    bench.send(dataset, [*rows[40:60], {**rows[0], "text": "a changed text, rough and bad"}])
    second = bench.run(**AGAIN, core_fraction=0.5, noise_fraction=0.0, replay_ratio=0.5)
    result = result_of(second)
    old, new = [str(row["id"]) for row in rows[1:40]], [str(row["id"]) for row in rows[40:60]]
    assert set(visits(bench, old)) == {1}
    assert set(visits(bench, [*new, str(rows[0]["id"])])) == {2}
    assert second.lineage == first.lineage
    assert sum(result["sets"].values()) == 60
    told = result["update"]
    assert (told["new"], told["from_job"]) == (21, first.id)
    assert told["replayed"] == 10  # half of 21, rounded to even
    assert result["steps"] == 2 * 4
    memory = told["memory"]
    assert (memory["split"], memory["before"]["count"]) == ("test", 20)
    change = memory["after"]["accuracy"] - memory["before"]["accuracy"]
    assert memory["difference"] == pytest.approx(change)
    assert memory["warning"] is (memory["high"] < 0)
    third = bench.run(**AGAIN)
    assert third.error is not None
    assert third.error.code == "nothing_new"


def test_it_begins_where_the_model_was_left(bench: Bench, make_rows: MakeRows) -> None:
    rows = [*make_rows(40)[:20], *({**row, "split": "validation"} for row in make_rows(40)[20:])]
    dataset = bench.dataset(rows)
    first = result_of(bench.run(**KEPT, learning_rate=1e-2))
    bench.send(dataset, [{**row, "id": f"again-{row['id']}"} for row in rows[:10]])
    memory = result_of(bench.run(**AGAIN, learning_rate=0.0, replay_ratio=0.0))["update"]["memory"]
    assert memory["split"] == "validation"
    assert memory["before"] == pytest.approx(first["epochs"][-1]["validation"])
    assert memory["after"] == memory["before"]  # without a learning rate nothing is learned, nor forgotten


def test_without_a_model_to_go_on_with(bench: Bench, make_rows: MakeRows) -> None:
    rows = make_rows(24)
    dataset = bench.dataset(rows[:16])
    bench.run(policy="seed")
    bench.send(dataset, rows[16:])
    job = bench.run(**AGAIN)
    assert job.error is not None
    assert job.error.code == "no_model_to_continue"
    assert "keep_model" in job.error.remedy


def test_a_killed_update_ends_as_an_undisturbed_one(
    short_lease: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = short_lease
    rows = with_test(make_rows(64), 20)
    for name in ("calm", "d"):
        dataset = bench.dataset([*rows[:24], *rows[44:]], name=name)
        bench.run(name, **KEPT)
        bench.send(dataset, rows[24:44])
    calm = result_of(bench.run("calm", **AGAIN))
    bench.queue("d", **AGAIN)
    die_after(bench, monkeypatch, ScoreBook, "flush", 5)
    run_claimed(bench.state, bench.settings, bench.claim())
    ids = [str(row["id"]) for row in rows[:44]]
    same = ("importance", "visits", "signals", "set", "reason")
    for one, other in zip(bench.scores(ids, "calm"), bench.scores(ids), strict=True):
        assert {name: one[name] for name in same} == {name: other[name] for name in same}
    ((killed, _),) = bench.state.jobs.ids_before(None, 1)
    told = result_of(bench.state.jobs.get(killed))
    assert told["update"]["memory"] == calm["update"]["memory"]
    assert told["update"]["new"] == 20
