"""`policy=robust` in a whole job: wrong labels become noise, reviews count, a resumed job goes on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from app.contracts import JobState, Verdict
from app.services.ranked_versions import RankedVersions
from app.services.review_queue import first_to_review
from app.services.reviews import add_review
from tests.workers.conftest import Bench, Row
from workers.lease import JobInterrupted
from workers.runner import run_claimed
from workers.score import pipeline, seen

GOOD = ("lovely", "good", "love", "keep", "soft")
BAD = ("awful", "bad", "hate", "return", "rough")
COUNT, WRONG = 240, 24


def reviews_with_slips() -> list[Row]:
    """Texts whose words tell their label; every tenth label is the other one."""
    drawn = random.Random(0)
    rows: list[Row] = []
    for i in range(COUNT):
        words = [*drawn.choices(GOOD if i % 2 else BAD, k=5), drawn.choice(("dress", "coat", "shirt"))]
        label = i % 2 if i >= WRONG else 1 - i % 2
        rows.append({"id": f"s{i:03}", "text": " ".join(words), "label": label})
    return rows


def wrong_ids() -> list[str]:
    return [f"s{i:03}" for i in range(WRONG)]


def result_of(bench: Bench, **params: Any) -> Mapping[str, Any]:
    job = bench.run(num_train_epochs=1, **params)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def test_wrong_labels_become_noise(bench: Bench) -> None:
    rows = reviews_with_slips()
    bench.dataset(rows)
    result = result_of(bench, core_fraction=0.5)
    told = result["noise"]
    assert told["basis"] == "planted"
    assert told["called"] == result["sets"]["noise"]
    assert told["rate_range"][0] <= told["rate"] <= told["rate_range"][1]
    scores = bench.scores([str(row["id"]) for row in rows])
    noise = {score["id"] for score in scores if score["set"] == "noise"}
    assert len(noise & set(wrong_ids())) >= 0.7 * WRONG
    assert len(noise - set(wrong_ids())) <= 0.3 * len(noise)
    assert result["sets"]["core"] == COUNT // 2
    assert all(0.0 <= score["noise_probability"] < 1.0 for score in scores)
    assert {score["reason"] for score in scores if score["set"] == "noise"} == {"mislabelled"}


def test_the_review_queue_begins_with_wrong_labels_and_knows_the_right_ones(bench: Bench) -> None:
    dataset = bench.dataset(reviews_with_slips())
    result_of(bench)
    queue = first_to_review(bench.state, RankedVersions(), bench.state.datasets.get(dataset.name), 20)[
        "items"
    ]
    wrong = [item for item in queue if item["id"] in wrong_ids()]
    assert len(wrong) >= 10
    assert all(item["suggested_label"] == 1 - item["label"] for item in wrong if item["set"] == "noise")


def test_the_same_job_on_the_same_samples_in_another_order_gives_the_same_sets(bench: Bench) -> None:
    """Scores depend on the order that samples are visited in, so the learning rate is 0."""
    rows = reviews_with_slips()
    bench.dataset(rows, name="one")
    bench.dataset(random.Random(1).sample(rows, COUNT), name="other")
    params = {"learning_rate": 0.0, "num_train_epochs": 1}
    for name in ("one", "other"):
        assert bench.run(name, **params).state is JobState.SUCCEEDED
    ids = [str(row["id"]) for row in rows]
    first, second = ({s["id"]: s for s in bench.scores(ids, name)} for name in ("one", "other"))
    for sample in ids:
        for field in ("set", "reason"):
            assert first[sample][field] == second[sample][field], sample
        assert first[sample]["noise_probability"] == pytest.approx(
            second[sample]["noise_probability"], abs=0.01
        )


def test_reviews_are_heard(bench: Bench) -> None:
    dataset = bench.dataset(reviews_with_slips())
    result_of(bench)
    reviewed = {f"s{i:03}": Verdict.WRONG if i < WRONG else Verdict.CORRECT for i in range(0, COUNT, 12)}
    right, wrong = "s100", "s101"  # a reviewer may disagree with everything that is said
    for sample, verdict in (reviewed | {right: Verdict.CORRECT, wrong: Verdict.WRONG}).items():
        add_review(bench.state, dataset, sample, verdict, None)
    told = result_of(bench)["noise"]
    assert (told["basis"], told["reviews"]) == ("reviews", len(reviewed) + 2)
    found = {score["id"]: score for score in bench.scores([*reviewed, right, wrong])}
    assert found[right]["set"] != "noise"
    assert found[wrong]["set"] == "noise"
    assert found[wrong]["noise_probability"] == 1.0


def test_a_trusted_validation_split_speaks(bench: Bench) -> None:
    validation = [
        {"id": f"v{i:02}", "text": " ".join(GOOD if i % 2 else BAD), "label": i % 2, "split": "validation"}
        for i in range(40)
    ]
    bench.dataset([*reviews_with_slips(), *validation])
    assert result_of(bench, trusted_validation=True)["noise"]["basis"] == "trusted_validation"
    assert result_of(bench)["noise"]["basis"] == "planted"


def test_a_trusted_validation_split_must_be_there(bench: Bench) -> None:
    bench.dataset(reviews_with_slips())
    job = bench.run(trusted_validation=True, validation_fraction=0.1)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "no_validation"


def test_of_few_samples_none_is_judged(bench: Bench) -> None:
    bench.dataset(reviews_with_slips()[:20])
    result = result_of(bench)
    assert result["noise"]["basis"] is None
    assert result["sets"] == {"core": 10, "edge": 10, "noise": 0}
    assert bench.scores(["s000"])[0]["noise_probability"] is None


@pytest.mark.parametrize("policy", ["seed", "top_k", "ccs", "random"])
def test_other_policies_do_not_look_at_the_texts(
    bench: Bench, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "mean_embeddings", None)
    bench.dataset(reviews_with_slips())
    result = result_of(bench, policy=policy)
    assert result["sets"]["core"] == COUNT // 2
    assert "noise" not in result


def test_a_resumed_job_does_not_look_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first attempt gives the job back when the sets are due; the second finds the embedding kept."""
    looked: list[int] = []
    embed, judged = seen.mean_embeddings, pipeline.place

    def counted(model: Any, tokens: Any, **given: Any) -> Any:
        looked.append(len(tokens))
        return embed(model, tokens, **given)

    def interrupted(*given: Any) -> Any:
        monkeypatch.setattr(pipeline, "place", judged)
        raise JobInterrupted

    monkeypatch.setattr(seen, "mean_embeddings", counted)
    monkeypatch.setattr(pipeline, "place", interrupted)
    bench.dataset(reviews_with_slips())
    job = bench.run(num_train_epochs=1)
    assert job.state is JobState.QUEUED
    run_claimed(bench.state, bench.settings, bench.claim())
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
    assert looked == [COUNT]
