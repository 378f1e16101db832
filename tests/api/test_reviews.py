"""Verdicts over HTTP: recorded, repeated, taken back; labels that they replace, and what voids them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from app.store import datasets as dataset_store
from app.store.samples import SCHEMA
from tests.api.asking import Api, code

if TYPE_CHECKING:
    from httpx import Response

ROWS = [{"id": i, "text": f"text {i}", "label": label} for i, label in zip("abc", "xyx", strict=True)]


@pytest.fixture
def full(api: Api) -> Api:
    """Samples a, b and c with labels x, y and x, all scored; u has no label."""
    api.post(*ROWS, {"id": "u", "text": "unlabelled"})
    api.player.score({"a": [3.0], "b": [2.0], "c": [1.0]})
    return api


def post(api: Api, sample_id: str, verdict: str, **body: Any) -> Response:
    return api.http.post(f"/v1/datasets/d/samples/{sample_id}/review", json={"verdict": verdict} | body)


def give(api: Api, sample_id: str, verdict: str, **body: Any) -> Any:
    response = post(api, sample_id, verdict, **body)
    assert response.status_code == 200, response.text
    return response.json()


def undo(api: Api, sample_id: str) -> Response:
    return api.http.delete(f"/v1/datasets/d/samples/{sample_id}/review")


def in_force(api: Api, sample_id: str) -> Any:
    held = api.read(f"/samples/{sample_id}/review")["in_force"]
    return None if held is None else (held["verdict"], held["label"], held["new_label"])


def history(api: Api, sample_id: str) -> list[str]:
    return [one["verdict"] for one in api.read(f"/samples/{sample_id}/review")["history"]]


def label(api: Api, sample_id: str) -> Any:
    return api.read(f"/samples/{sample_id}")["label"]


def visits(api: Api, sample_id: str) -> Any:
    return api.read(f"/scores/{sample_id}")["visits"]


def test_a_verdict_says_what_was_judged_and_when(full: Api) -> None:
    made = give(full, "a", "correct")
    assert made.pop("created_at").endswith("Z")
    assert made == {
        "sequence": 1,
        "id": "a",
        "verdict": "correct",
        "label": "x",
        "new_label": None,
        "generation": 0,
        "undoes": None,
    }
    held = full.read("/samples/a/review")
    assert held["id"] == "a"
    assert held["history"] == [held["in_force"]]
    assert visits(full, "a") == 1, "a verdict alone voids nothing"
    assert full.read("/samples/b/review") == {"id": "b", "in_force": None, "history": []}


@pytest.mark.parametrize("body", [{}, {"label": None}, {"label": "x"}], ids=repr)
@pytest.mark.parametrize("verdict", ["correct", "unsure"])
def test_the_same_verdict_twice_is_one(full: Api, verdict: str, body: dict[str, Any]) -> None:
    assert give(full, "a", verdict, **body) == give(full, "a", verdict, **body)
    assert history(full, "a") == [verdict]


def test_a_new_label_replaces_the_old_one_and_voids_the_score(full: Api) -> None:
    made = give(full, "a", "wrong", label="y")
    assert (made["label"], made["new_label"], made["generation"]) == ("x", "y", 0)
    assert (label(full, "a"), visits(full, "a")) == ("y", 0)
    assert full.read("/scores/a")["set"] == "unscored"
    assert full.read()["sets"]["unscored"] == 2
    assert in_force(full, "a") == ("wrong", "x", "y"), "the reviewer's own correction voids nothing"
    assert give(full, "a", "wrong", label="y") == made
    assert history(full, "a") == ["wrong"]
    entry = full.state.ids.find(full.state.datasets.get("d"), "a")
    assert entry is not None
    assert entry.generation == 1
    assert full.post(ROWS[0] | {"label": "y"}).json()["unchanged"] == 1


def test_verdicts_that_contradict_their_label(full: Api) -> None:
    for sample_id, verdict, wanted in [("a", "correct", "y"), ("a", "unsure", "y"), ("a", "wrong", "x")]:
        refused = post(full, sample_id, verdict, label=wanted)
        assert code(refused, 422) == "contradictory_review"
        assert refused.json()["errors"][0]["pointer"] == "/label"
    give(full, "a", "wrong")
    assert code(post(full, "a", "wrong", label="x"), 422) == "contradictory_review"
    assert history(full, "a") == ["wrong"]
    assert label(full, "a") == "x"


def test_undo_takes_back_one_verdict_and_the_label_that_it_brought(full: Api) -> None:
    give(full, "a", "correct")
    give(full, "a", "wrong", label="y")
    give(full, "a", "unsure")
    taken = undo(full, "a").json()
    assert (taken["verdict"], taken["undoes"], taken["new_label"]) == ("undo", 3, None)
    assert in_force(full, "a") == ("wrong", "x", "y")
    taken = undo(full, "a").json()
    assert (taken["undoes"], taken["label"], taken["new_label"]) == (2, "y", "x")
    assert label(full, "a") == "x"
    assert visits(full, "a") == 0, "the old content comes back without its score"
    assert in_force(full, "a") == ("correct", "x", None), "what was said of this content holds again"
    assert undo(full, "a").status_code == 200
    assert in_force(full, "a") is None
    assert code(undo(full, "a"), 404) == "no_review"
    assert history(full, "a") == ["correct", "wrong", "unsure", "undo", "undo", "undo"]
    give(full, "a", "correct")
    assert in_force(full, "a") == ("correct", "x", None)


def test_undo_leaves_a_label_alone_that_has_been_replaced_again(full: Api) -> None:
    give(full, "a", "wrong", label="y")
    full.post(ROWS[0] | {"label": "z"})
    assert in_force(full, "a") is None
    assert undo(full, "a").json()["new_label"] is None
    assert label(full, "a") == "z"
    assert code(undo(full, "a"), 404) == "no_review"


def test_a_verdict_ends_with_the_content_that_was_judged(full: Api) -> None:
    give(full, "a", "correct")
    full.post(ROWS[0] | {"meta": {"seen": True}})
    assert in_force(full, "a") == ("correct", "x", None), "the model does not see meta, nor does the reviewer"
    full.post(ROWS[0] | {"text": "other"})
    assert in_force(full, "a") is None
    give(full, "a", "correct")
    assert history(full, "a") == ["correct", "correct"], "the same verdict on other content is another one"
    assert in_force(full, "a") == ("correct", "x", None)


def test_unknown_deleted_and_unlabelled_samples(full: Api) -> None:
    assert code(post(full, "nobody", "correct"), 404) == "unknown_sample"
    assert code(undo(full, "nobody"), 404) == "unknown_sample"
    assert code(full.get("/samples/nobody/review"), 404) == "unknown_sample"
    for body in ({}, {"label": "x"}):
        assert code(post(full, "u", "wrong", **body), 422) == "no_label"
    assert code(full.http.post("/v1/datasets/no/samples/a/review", json={"verdict": "wrong"}), 404) == (
        "unknown_dataset"
    )
    give(full, "a", "wrong", label="y")
    give(full, "b", "correct")
    assert full.http.delete("/v1/datasets/d/samples/a").status_code == 204
    assert code(post(full, "a", "correct"), 404) == "unknown_sample"
    assert code(full.get("/samples/a/review"), 404) == "unknown_sample"
    full.post(ROWS[0])
    assert history(full, "a") == [], "the id begins anew"
    first, second = full.read("/reviews")["items"]
    assert (first["id"], first["label"], first["new_label"]) == (None, None, None)
    assert (first["sequence"], first["verdict"]) == (1, "wrong")
    assert (second["id"], second["label"]) == ("b", "y")
    assert give(full, "a", "unsure")["sequence"] == 3


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"verdict": "perhaps"}, "invalid_request"),
        ({}, "invalid_request"),
        ({"verdict": "wrong", "who": "me"}, "invalid_request"),
        ({"verdict": "wrong", "label": True}, "invalid_request"),
        ({"verdict": "wrong", "label": ["y"]}, "invalid_request"),
        ({"verdict": "wrong", "label": ""}, "invalid_label"),
        ({"verdict": "wrong", "label": "l" * 257}, "invalid_label"),
        ({"verdict": "wrong", "label": 10**20}, "invalid_label"),
    ],
    ids=repr,
)
def test_requests_that_make_no_sense(full: Api, body: dict[str, Any], wanted: str) -> None:
    assert code(full.http.post("/v1/datasets/d/samples/a/review", json=body), 422) == wanted
    assert history(full, "a") == []
    assert label(full, "a") == "x"


def test_a_label_must_be_one_of_the_datasets(api: Api) -> None:
    api.put("fixed", labels=[0, 1])
    api.post({"id": "a", "text": "t", "label": 0}, name="fixed")

    def give_label(wanted: Any) -> Response:
        body = {"verdict": "wrong", "label": wanted}
        return api.http.post("/v1/datasets/fixed/samples/a/review", json=body)

    refused = give_label(2)
    assert code(refused, 422) == "unknown_label"
    assert refused.json()["errors"][0]["pointer"] == "/label"
    assert give_label("1").json()["new_label"] == 1, "as the dataset writes it"
    assert api.read("/samples/a", "fixed")["label"] == 1


def test_an_old_label_is_not_put_back_where_labels_have_been_fixed_without_it(full: Api) -> None:
    for sample_id in "ac":
        give(full, sample_id, "wrong", label="y")
    full.put(labels=["y", "z"])
    assert code(undo(full, "a"), 422) == "unknown_label"
    assert in_force(full, "a") == ("wrong", "x", "y")


def test_grades_are_reviewed_too(api: Api) -> None:
    api.put("r", task="relevance")
    api.post({"id": "a", "text": "t", "label": 2}, name="r")
    path = "/v1/datasets/r/samples/a/review"
    assert code(api.http.post(path, json={"verdict": "wrong", "label": -1}), 422) == "invalid_label"
    assert api.http.post(path, json={"verdict": "wrong", "label": "0"}).json()["new_label"] == 0
    assert api.read("/samples/a", "r")["label"] == 0


def test_a_content_that_has_changed_too_often_is_not_corrected(full: Api) -> None:
    state, dataset = full.state, full.state.datasets.get("d")
    row = state.samples.by_ordinals(dataset, [0])[0]
    entry = state.ids.find(dataset, "a")
    assert entry is not None
    last = 2**16 - 1
    state.samples.write(
        dataset, pa.Table.from_pylist([row | {"generation": last}], schema=SCHEMA), all_new=False
    )
    state.ids.commit(dataset, [("a", entry._replace(generation=last))], [])
    assert code(post(full, "a", "wrong", label="y"), 422) == "too_many_changes"
    assert history(full, "a") == []
    assert give(full, "a", "wrong")["generation"] == last


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_every_review_is_listed_once_oldest_first(full: Api, limit: int) -> None:
    for sample_id, verdict in [("a", "correct"), ("b", "wrong"), ("a", "unsure"), ("c", "correct")]:
        give(full, sample_id, verdict)
    undo(full, "b")
    assert full.walk("/reviews", limit=limit) == ["a", "b", "a", "c", "b"]
    items = full.read("/reviews")["items"]
    assert [item["sequence"] for item in items] == [1, 2, 3, 4, 5]


def test_lists_of_nothing_and_broken_cursors(full: Api) -> None:
    assert full.read("/reviews") == {"items": [], "next_cursor": None}
    for cursor in ("x", "e30", "💥"):
        assert code(full.get("/reviews", cursor=cursor), 422) == "invalid_cursor"
    assert code(full.get("/reviews", limit=0), 422) == "invalid_request"


def test_a_busy_dataset_is_a_conflict(full: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_store, "LOCK_WAIT_SECONDS", 0.05)
    with full.state.datasets.writing(full.state.datasets.get("d")):
        assert code(post(full, "a", "correct"), 409) == "dataset_busy"
        assert code(undo(full, "a"), 409) == "dataset_busy"
    assert history(full, "a") == []


def test_reviewers_and_senders_at_once(full: Api) -> None:
    """Whatever comes first: numbers without a gap, one row a sample, and the label is one that was sent."""

    def review(turn: int) -> int:
        return post(full, "abc"[turn % 3], "wrong", label=f"r{turn}").status_code

    def send(turn: int) -> int:
        return full.post(ROWS[turn % 3] | {"label": f"s{turn}"}).status_code

    with ThreadPoolExecutor(6) as pool:
        codes = [*pool.map(review, range(12)), *pool.map(send, range(6))]
    assert set(codes) == {200}
    items = full.read("/reviews")["items"]
    assert [item["sequence"] for item in items] == list(range(1, 13))
    dataset = full.state.datasets.get("d")
    rows = full.state.samples.by_ordinals(dataset, range(3))
    for sample_id in "abc":
        entry = full.state.ids.find(dataset, sample_id)
        assert entry is not None
        assert rows[entry.ordinal]["generation"] == entry.generation
        assert rows[entry.ordinal]["label"][0] in "rs"


def test_many_reviews_are_compacted_and_keep_their_order(full: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.lance_tables.COMPACT_AT_ONCE", 64)
    for turn in range(70):
        give(full, "a", ("correct", "unsure")[turn % 2])
    with full.state.reviews._opened(full.state.datasets.get("d")) as table:
        assert table is not None
        assert len(table.get_fragments()) < 64
    assert [item["sequence"] for item in full.read("/reviews", limit=1000)["items"]] == list(range(1, 71))
    assert len(history(full, "a")) == 70


def test_a_dataset_that_is_made_again_has_no_reviews(full: Api) -> None:
    give(full, "a", "correct")
    location = full.state.reviews.location(full.state.datasets.get("d"))
    full.http.delete("/v1/datasets/d")
    assert not Path(location).exists()
    full.put()
    full.post(*ROWS)
    assert full.read("/reviews")["items"] == []
    assert give(full, "a", "correct")["sequence"] == 1
