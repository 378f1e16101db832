"""Sending an id again: what changes, what stays, and that a score never outlives its content."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.errors import Conflict, Unavailable
from tests.api.asking import Api, code

ROW: dict[str, Any] = {"id": "1", "text": "a", "text_pair": "p", "label": "x", "split": "train"}


@pytest.fixture
def scored(api: Api) -> Api:
    """Sample "1" and three others, scored and sorted into sets."""
    api.post(ROW, *({"id": i, "text": "t", "label": "y"} for i in "234"))
    api.player.score({"1": [4.0], "2": [3.0], "3": [2.0], "4": [1.0]}, noise_fraction=0.25)
    return api


def outcome(api: Api, **changes: Any) -> str:
    body = api.post(ROW | changes).json()
    return next(name for name in ("created", "updated", "unchanged") if body[name])


def is_scored(api: Api, sample_id: str = "1") -> bool:
    """Whether every route says that the sample has a score, or every route says that it has none."""
    score = api.read(f"/scores/{sample_id}")
    sample = api.read(f"/samples/{sample_id}")
    member = api.read(f"/sets/core/{sample_id}")
    assert sample["score"] == score
    said = {
        score["visits"] > 0,
        score["importance"] is not None,
        score["signals"] is not None,
        score["set"] != "unscored",
        score["reason"] != "unscored",
        member["set"] != "unscored",
        member["member"],
        sample["membership"]["set"] != "unscored",
        sample_id in api.walk("/sets/core"),
        sample_id not in api.walk("/samples", set="unscored"),
        sample_id in api.walk("/samples", min_importance=0),
    }
    assert len(said) == 1, (score, sample, member)
    return said.pop()


def test_the_same_content_changes_nothing(scored: Api) -> None:
    assert outcome(scored) == "unchanged"
    assert is_scored(scored)


@pytest.mark.parametrize(
    "change", [{"meta": {"a": 1}}, {"meta": {}}, {"weight": 2}, {"group": "g"}, {"meta": {"big": 2**80}}]
)
def test_what_the_model_does_not_see_is_updated_and_keeps_the_score(
    scored: Api, change: dict[str, Any]
) -> None:
    assert outcome(scored, **change) == "updated"
    assert scored.read("/samples/1")[next(iter(change))] == next(iter(change.values()))
    assert is_scored(scored)
    assert outcome(scored, **change) == "unchanged"
    assert outcome(scored) == "updated"
    assert scored.read("/samples/1")[next(iter(change))] is None


@pytest.mark.parametrize(
    "change",
    [
        {"text": "b"},
        {"text": "a "},
        {"text_pair": None},
        {"text_pair": "q"},
        {"label": "y"},
        {"label": None},
        {"split": "test"},
    ],
    ids=repr,
)
def test_changed_content_has_no_score_and_its_old_content_does_not_bring_it_back(
    scored: Api, change: dict[str, Any]
) -> None:
    assert is_scored(scored)
    assert outcome(scored, **change) == "updated"
    assert not is_scored(scored)
    assert outcome(scored) == "updated"
    assert not is_scored(scored)


def test_void_members_are_taken_out_of_every_count(scored: Api) -> None:
    assert scored.read()["sets"] == {"core": 2, "edge": 1, "noise": 1, "unscored": 0}
    outcome(scored, text="b")
    assert scored.http.delete("/v1/datasets/d/samples/4").status_code == 204
    assert scored.read()["sets"] == {"core": 1, "edge": 1, "noise": 0, "unscored": 1}
    page = scored.read("/sets/core")
    assert (page["total"], [item["id"] for item in page["items"]]) == (1, ["2"])
    assert scored.read("/sets/noise") == {"version": 1, "total": 0, "items": [], "next_cursor": None}
    assert scored.read("/sets")["items"][0]["sizes"] == {"core": 1, "edge": 1, "noise": 0}
    assert [line["id"] for line in exported(scored, "core")] == ["2"]
    assert exported(scored, "noise") == []
    outcome(scored, text="c")
    assert scored.read()["sets"]["core"] == 1, "a member that is void already was counted again"


def exported(api: Api, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in api.get(f"/sets/{name}/export").text.splitlines()]


def test_a_deleted_sample_is_gone_everywhere_and_comes_back_without_its_score(scored: Api) -> None:
    dataset = scored.state.datasets.get("d")
    before = scored.state.ids.find(dataset, "1")
    assert scored.http.delete("/v1/datasets/d/samples/1").status_code == 204
    for path in ("/samples/1", "/scores/1", "/sets/core/1"):
        assert code(scored.get(path), 404) == "unknown_sample"
    assert code(scored.http.delete("/v1/datasets/d/samples/1"), 404) == "unknown_sample"
    assert outcome(scored) == "created"
    after = scored.state.ids.find(dataset, "1")
    assert before is not None
    assert after is not None
    assert after.ordinal > before.ordinal
    assert not is_scored(scored)
    assert scored.read()["samples"] == 4


def test_a_mixed_request_is_counted_right(scored: Api) -> None:
    body = scored.post(ROW, {"id": "2", "text": "new", "label": "y"}, {"id": "5", "text": "t"}).json()
    assert [body[name] for name in ("received", "created", "updated", "unchanged")] == [3, 1, 1, 1]
    assert scored.walk("/samples") == ["1", "2", "3", "4", "5"]


def test_writers_at_once_leave_one_row_an_id_and_right_counts(api: Api) -> None:
    def write(seed: int) -> dict[str, int]:
        turn = random.Random(seed)
        created = updated = unchanged = 0
        for _ in range(4):
            ids = turn.sample(range(60), 25)
            body = api.post(
                *({"id": f"s{i}", "text": f"t{turn.randrange(3)}", "label": i % 2} for i in ids)
            ).json()
            assert body["received"] == body["created"] + body["updated"] + body["unchanged"] == 25
            created, updated = created + body["created"], updated + body["updated"]
            unchanged += body["unchanged"]
        return {"created": created, "updated": updated, "unchanged": unchanged}

    with ThreadPoolExecutor(6) as pool:
        totals = list(pool.map(write, range(6)))
    ids = api.walk("/samples")
    assert len(ids) == len(set(ids)) == sum(total["created"] for total in totals)
    assert sum(sum(total.values()) for total in totals) == 6 * 4 * 25
    held = api.read()
    assert held["samples"] == held["splits"]["train"] == len(ids)
    assert sum(one["samples"] for one in held["label_counts"]) == len(ids)
    dataset = api.state.datasets.get("d")
    entries = [api.state.ids.find(dataset, sample_id) for sample_id in ids]
    rows = api.state.samples.by_ordinals(dataset, range(len(ids)))
    assert sorted(entry.ordinal for entry in entries if entry) == list(range(len(ids))) == sorted(rows)
    for entry, sample_id in zip(entries, ids, strict=True):
        assert entry is not None
        row = rows[entry.ordinal]
        assert (row["id"], row["generation"]) == (sample_id, entry.generation), "store and ids disagree"


def test_many_small_requests_keep_every_row(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the number of fragments at which a writer compacts the store itself."""
    monkeypatch.setattr("app.store.lance_tables.COMPACT_AT_ONCE", 64)
    for i in range(70):
        api.post({"id": f"s{i}", "text": f"t{i}", "label": i % 2})
    api.post({"id": "s0", "text": "changed"})
    assert api.walk("/samples", limit=7) == [f"s{i}" for i in range(70)]
    assert api.read("/samples/s0")["text"] == "changed"
    assert len(api.state.samples.table(api.state.datasets.get("d")).get_fragments()) < 64


def test_a_store_that_cannot_be_written_answers_503_and_nothing_is_visible(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise Unavailable("service_unavailable", "the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(api.state.samples.__class__, "write", full)
        response = api.post({"id": "1", "text": "t"})
        assert code(response, 503) == "service_unavailable"
        assert response.headers["Retry-After"]
    assert code(api.get("/samples/1"), 404) == "unknown_sample"
    assert code(api.get("/scores/1"), 404) == "unknown_sample"
    assert api.read()["samples"] == 0
    assert api.post({"id": "1", "text": "t"}).json()["created"] == 1
    assert api.walk("/samples") == ["1"]


def test_a_generation_never_comes_again(scored: Api) -> None:
    """The last change that can be counted is stored, one more is refused; a deleted sample begins anew."""
    state, dataset = scored.state, scored.state.datasets.get("d")
    held = state.ids.find(dataset, "1")
    assert held is not None
    state.ids.commit(dataset, [("1", held._replace(generation=2**16 - 2))], state.sets.numbers(dataset))
    assert outcome(scored, text="last") == "updated"
    refused = scored.post(ROW | {"text": "one more"}, {"id": "5", "text": "t", "label": "y"})
    assert refused.status_code == 207
    assert [(row["index"], row["id"], row["code"]) for row in refused.json()["rejected"]] == [
        (0, "1", "too_many_changes")
    ]
    assert refused.json()["created"] == 1
    assert scored.read("/samples/1")["text"] == "last"
    assert outcome(scored, text="last") == "unchanged"
    assert outcome(scored, text="last", meta={"kept": "too"}) == "updated"
    assert scored.http.delete("/v1/datasets/d/samples/1").status_code < 300
    assert outcome(scored, text="one more") == "created"
    assert not is_scored(scored)


def test_state_of_another_format_is_a_conflict_with_a_remedy(scored: Api) -> None:
    state, dataset = scored.state, scored.state.datasets.get("d")
    state.client.hset(state.keys.dataset(dataset.uid).meta, "format", "1")
    for path in ("", "/scores/1", "/sets/core", "/samples"):
        assert code(scored.get(path), 409) == "state_format"
    with pytest.raises(Conflict, match="format 1, this version reads 2"):
        state.scores.lookup(dataset, ["1"])
