"""Two set versions side by side: counts that add up, and everybody who moved, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from app.store import layout, sets
from tests.api.asking import Api, code

IDS = [f"s{i:02}" for i in range(20)]


@pytest.fixture
def moved(api: Api) -> Api:
    """Version 1: s00–s09 core, s10–s15 edge, s16–s19 noise. Version 2 is of all but s19, the other way round:
    s18–s10 core, s09–s04 edge, s03–s00 noise."""
    api.post(
        *({"id": i, "text": f"text {i}", "label": n % 2} for n, i in enumerate(IDS)), {"id": "u", "text": "t"}
    )
    api.player.score({i: [20.0 - n] for n, i in enumerate(IDS)})
    api.player.score({i: [1.0 + n] for n, i in enumerate(IDS[:19])}, core_fraction=0.48, noise_fraction=0.22)
    return api


def nonzero(counts: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    return {(before, after): n for before, row in counts.items() for after, n in row.items() if n}


def test_counts_from_where_to_where(moved: Api) -> None:
    answer = moved.read("/sets/diff")
    assert (answer["from"], answer["to"]) == (1, 2)
    assert nonzero(answer["counts"]) == {
        ("core", "noise"): 4,
        ("core", "edge"): 6,
        ("edge", "core"): 6,
        ("noise", "core"): 3,
        ("noise", "unscored"): 1,
        ("unscored", "unscored"): 1,
    }
    assert sum(nonzero(answer["counts"]).values()) == moved.read()["samples"]


def test_who_moved_and_why(moved: Api) -> None:
    items = {item["id"]: item for item in moved.read("/sets/diff")["items"]}
    assert list(items) == IDS, "all but the sample that has never been scored"
    assert items["s00"] == {
        "id": "s00",
        "from": {"set": "core", "reason": "important"},
        "to": {"set": "noise", "reason": "easy"},
        "importance": 1.0,
        "changed": False,
    }
    assert items["s19"]["to"] == {"set": "unscored", "reason": "unscored"}
    assert items["s19"]["importance"] == 1.0, "of the older version"


def test_of_some_sets_only(moved: Api) -> None:
    assert moved.walk("/sets/diff", from_set="core", to_set="noise", limit=3) == IDS[:4]
    assert moved.walk("/sets/diff", from_set="core") == IDS[:10]
    assert moved.walk("/sets/diff", to_set="core") == IDS[10:19]
    assert moved.walk("/sets/diff", from_set="edge", to_set="edge") == []
    assert moved.walk("/sets/diff", **{"from": 2, "to": 2}, from_set="edge", to_set="edge") == IDS[4:10]
    assert moved.walk("/sets/diff", **{"from": 2, "to": 2}) == []


@pytest.mark.parametrize("limit", [1, 3, 7, 20, 1000])
def test_pages_by_cursor(moved: Api, limit: int) -> None:
    first = moved.read("/sets/diff", limit=limit)
    assert first["counts"] is not None
    assert moved.walk("/sets/diff", limit=limit) == IDS
    if first["next_cursor"]:
        assert moved.read("/sets/diff", limit=limit, cursor=first["next_cursor"])["counts"] is None
    assert (first["next_cursor"] is None) is (limit >= 20)


def test_over_many_chunks(moved: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are of 4,680 cells; smaller ones are played by writing the versions anew in them."""
    before = moved.read("/sets/diff")
    for module in (layout, sets):
        monkeypatch.setattr(module, "CELLS_A_CHUNK", 4)
    monkeypatch.setattr("app.store.keys.CELLS_A_CHUNK", 4)
    monkeypatch.setattr(sets, "CHUNKS_A_CALL", 2)
    moved.player.score({i: [20.0 - n] for n, i in enumerate(IDS)})
    moved.player.score(
        {i: [1.0 + n] for n, i in enumerate(IDS[:19])}, core_fraction=0.48, noise_fraction=0.22
    )
    after = moved.read("/sets/diff")
    assert (after["from"], after["to"]) == (3, 4)
    assert (after["counts"], after["items"]) == (before["counts"], before["items"])
    assert moved.walk("/sets/diff", limit=3) == IDS


def test_a_cursor_of_another_question(moved: Api) -> None:
    cursor = moved.read("/sets/diff", limit=2)["next_cursor"]
    asked: list[dict[str, Any]] = [{"from": 2}, {"to": 1, "from": 1}, {"to_set": "core"}]
    for params in asked:
        assert code(moved.get("/sets/diff", cursor=cursor, **params), 422) == "invalid_cursor"
    assert code(moved.get("/sets/diff", cursor="nonsense"), 422) == "invalid_cursor"


def test_a_cursor_stays_good_while_a_version_comes(moved: Api) -> None:
    asked = {"from": 1, "to": 2, "limit": 15}
    cursor = moved.read("/sets/diff", **asked)["next_cursor"]
    moved.player.score({i: [20.0 - n] for n, i in enumerate(IDS)})
    page = moved.read("/sets/diff", cursor=cursor, **asked)
    assert [item["id"] for item in page["items"]] == IDS[15:]


def test_deleted_samples_are_in_neither(moved: Api) -> None:
    moved.http.delete("/v1/datasets/d/samples/s01")
    answer = moved.read("/sets/diff")
    assert nonzero(answer["counts"])["core", "noise"] == 3
    assert "s01" not in [item["id"] for item in answer["items"]]


def test_a_sample_that_was_corrected_says_so(moved: Api) -> None:
    moved.post({"id": "s00", "text": "another text", "label": 1})
    moved.player.score({i: [20.0 - n] for n, i in enumerate(IDS)})
    items = {item["id"]: item for item in moved.read("/sets/diff")["items"]}
    assert items["s00"]["changed"] is True
    assert items["s01"]["changed"] is False


def test_versions_that_are_not(moved: Api) -> None:
    for params in ({"from": 9}, {"to": 9}, {"to": 1}):
        assert code(moved.get("/sets/diff", **params), 404) == "unknown_version"
    assert code(moved.get("/sets/diff", from_set="none"), 422) == "invalid_request"
    moved.put("new")
    assert code(moved.get("/sets/diff", "new"), 404) == "no_sets_yet"
