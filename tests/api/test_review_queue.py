"""The queue: what is in it, in which order, and that what was reviewed leaves it."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Damaged, NotFound
from app.services import ranked_versions, review_queue
from app.services.ranked_versions import RankedVersions
from tests.api.asking import Api, code
from tests.api.test_reviews import give, undo
from tests.reviewing import publish

IDS = [f"s{i}" for i in range(8)]
Q = [0.01, 0.95, 0.5, 0.9, 0.45, 0.99, 0.02, 0.7]


@pytest.fixture
def full(api: Api) -> Api:
    """Eight samples, labels x and y by turns, and one of each without a score or in another split."""
    api.put("d", labels=["x", "y"])
    api.post(
        *({"id": i, "text": f"text {i}", "text_pair": "p", "label": "xy"[n % 2]} for n, i in enumerate(IDS)),
        {"id": "new", "text": "t", "label": "x"},
        {"id": "test", "text": "t", "label": "x", "split": "test"},
    )
    return api


def queue(api: Api, limit: int = 20) -> list[str]:
    return [item["id"] for item in api.read("/review-queue", limit=limit)["items"]]


def test_probable_errors_and_uncertain_rows_of_either_class_by_turns(full: Api) -> None:
    publish(full.state, IDS, Q)
    # errors: s5 (y .99), s2 (x .5); s1 (y .95), s4 (x .45); … uncertain: s2 (x), s7 (y .7); s4 (x), s3 (y); …
    assert queue(full) == ["s5", "s2", "s1", "s7", "s4", "s3", "s6", "s0"]
    assert queue(full, 3) == ["s5", "s2", "s1"]
    assert queue(full) == queue(full), "the same question has the same answer"


def test_a_row_says_what_a_reviewer_needs(full: Api) -> None:
    publish(full.state, IDS, Q, [-1, 0, 9, -1, -1, 0, -1, -1])
    answer = full.read("/review-queue", limit=2)
    assert answer["version"] == 1
    assert answer["items"] == [
        {
            "id": "s5",
            "text": "text s5",
            "text_pair": "p",
            "label": "y",
            "suggested_label": "x",
            "noise_probability": 0.99,
            "set": "noise",
            "reason": "mislabelled",
            "importance": 3.0,
        },
        {
            "id": "s2",
            "text": "text s2",
            "text_pair": "p",
            "label": "x",
            "suggested_label": None,
            "noise_probability": 0.5,
            "set": "edge",
            "reason": "uncertain",
            "importance": 6.0,
        },
    ]


def test_without_noise_probabilities_by_importance(full: Api) -> None:
    publish(full.state, IDS[::-1])
    assert queue(full) == IDS[::-1]
    assert full.read("/review-queue")["items"][0]["noise_probability"] is None


def test_rows_without_a_probability_are_left_out_where_others_have_one(full: Api) -> None:
    publish(full.state, IDS[:3], [float("nan"), 0.4, float("nan")])
    assert queue(full) == ["s1"]


@pytest.mark.parametrize("verdict", ["correct", "wrong", "unsure"])
def test_what_is_reviewed_leaves_the_queue_until_it_is_taken_back(full: Api, verdict: str) -> None:
    publish(full.state, IDS, Q)
    before = queue(full)
    give(full, "s5", verdict)
    assert sorted(queue(full)) == sorted(before[1:])
    undo(full, "s5")
    assert queue(full) == before


def test_changed_corrected_and_deleted_rows_are_not_in_it(full: Api) -> None:
    publish(full.state, IDS, Q)
    assert len(queue(full)) == 8, "the version is held from here on"
    give(full, "s5", "wrong", label="x")
    full.post({"id": "s2", "text": "other", "label": "x"})
    full.http.delete("/v1/datasets/d/samples/s1")
    assert queue(full) == ["s7", "s4", "s3", "s6", "s0"]
    assert queue(full, 2) == ["s7", "s4"], "places of rows that are gone are filled"
    publish(full.state, ["s5", "s2"], [0.3, 0.2])
    assert queue(full) == ["s2"], "a corrected label is confirmed: nothing is left to be asked"


def test_the_newest_version_counts_and_only_the_last_few_are_held(
    full: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranked_versions, "VERSIONS_HELD", 2)
    ranked: list[Any] = []
    rank = ranked_versions._rank

    def counted(*given: Any) -> Any:
        ranked.append(given)
        return rank(*given)

    monkeypatch.setattr(ranked_versions, "_rank", counted)
    for number in range(1, 5):
        publish(full.state, IDS[:number], [0.5] * number)
        assert len(queue(full)) == number
        assert len(queue(full)) == number
    assert len(ranked) == 4
    assert full.read("/review-queue")["version"] == 4


def test_a_version_with_no_members_has_an_empty_queue(full: Api) -> None:
    publish(full.state, [])
    assert full.read("/review-queue") == {"version": 1, "items": []}
    give(full, "s0", "correct")
    assert queue(full) == []


def test_a_version_whose_file_is_gone_is_told_with_what_to_do(full: Api) -> None:
    publish(full.state, IDS, Q)
    dataset = full.state.datasets.get("d")
    full.state.archive.of_dataset(dataset).keep_versions(set())
    with pytest.raises(Damaged, match="has no file") as told:
        review_queue.first_to_review(full.state, RankedVersions(), dataset, 5)
    assert "score job" in told.value.remedy
    full.state.sets._drop_old(full.state.keys.dataset(dataset.uid), 100)
    with pytest.raises(NotFound):
        review_queue.first_to_review(full.state, RankedVersions(), dataset, 5)


def test_questions_that_cannot_be_answered(full: Api) -> None:
    assert code(full.get("/review-queue"), 404) == "no_sets_yet"
    assert code(full.get("/review-queue", name="no"), 404) == "unknown_dataset"
    for limit in (0, 1001, "many"):
        assert code(full.get("/review-queue", limit=limit), 422) == "invalid_request"
