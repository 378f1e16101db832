"""Scores, membership, pages and versions of sets, written as a fenced worker writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.contracts import SetName
from app.services import sets as use
from app.services.cursors import encode_cursor
from app.services.sets import PageCursor
from app.settings import Settings
from app.store.sets import SetStore
from app.store.state import open_state
from tests.api.asking import Api, code
from tests.playing import Player

NORMS = {f"s{i:02}": [float(20 - i), float(20 - i) / 2] for i in range(20)}


@pytest.fixture
def scored(api: Api) -> Api:
    """Twenty scored samples, s00 the most important: 10 core, 6 edge, 4 noise; and one unscored."""
    api.post(
        *({"id": i, "text": f"text {i}", "label": n % 2} for n, i in enumerate(NORMS)),
        {"id": "u", "text": "t"},
    )
    api.player.score(NORMS)
    return api


def lookup(api: Api, ids: Any) -> Any:
    return api.http.post("/v1/datasets/d/scores/lookup", json={"ids": ids})


def test_a_score_is_the_statistics_of_its_visits(scored: Api) -> None:
    norms = np.array(NORMS["s03"])
    confidence = 1 / (1 + norms)
    score = scored.read("/scores/s03")
    assert score["updated_at"] == "2023-11-14T22:13:20Z"
    assert score["importance"] == score["signals"]["grad_norm"]["mean"] == norms.mean()
    assert score["visits"] == 2
    assert score["signals"] == {
        "grad_norm": {"mean": norms.mean(), "std": pytest.approx(norms.std()), "last": norms[-1]},
        "loss": pytest.approx(norms.mean() / 2),
        "el2n": pytest.approx(norms.mean() / 4),
        "margin": pytest.approx(-norms.mean()),
        "confidence": pytest.approx(confidence.mean(), rel=1e-6),
        "variability": pytest.approx(confidence.std(), rel=1e-5),
        "forgetting": 0,
        "alignment": None,
    }
    assert (score["set"], score["reason"], score["noise_probability"]) == ("core", "important", None)
    assert score["percentile"] == 100 * (20 - 3) / 20
    assert score["lineage"] == scored.read()["lineage"]["id"]


def test_percentiles_and_noise(scored: Api) -> None:
    first, last = scored.read("/scores/s00"), scored.read("/scores/s19")
    assert (first["percentile"], last["percentile"]) == (100.0, 5.0)
    assert (last["set"], last["noise_probability"]) == ("noise", pytest.approx(0.7, rel=1e-3))
    member = scored.read("/sets/noise", limit=1, order="importance")["items"][0]
    assert (member["id"], member["noise_probability"]) == ("s19", last["noise_probability"])


def test_an_unscored_sample_has_no_visits_and_nulls(scored: Api) -> None:
    score = scored.read("/scores/u")
    assert (score["visits"], score["set"], score["reason"]) == (0, "unscored", "unscored")
    nulls = ("importance", "signals", "noise_probability", "percentile", "updated_at")
    assert [score[name] for name in nulls] == [None] * 5
    assert scored.read("/sets/core/u") == {
        "member": False,
        "set": "unscored",
        "version": 1,
        "reason": "unscored",
    }


def test_lookup_answers_in_the_order_asked(scored: Api) -> None:
    ids = ["s05", "nobody", "s01", "u", "s05", "", "a/b"]
    scores = lookup(scored, ids).json()["scores"]
    assert [None if score is None else score["id"] for score in scores] == [
        "s05",
        None,
        "s01",
        "u",
        "s05",
        None,
        None,
    ]
    assert scores[0] == scored.read("/scores/s05")
    assert lookup(scored, []).json() == {"scores": []}


def test_lookup_takes_ten_thousand_ids_and_no_more(scored: Api) -> None:
    answer = lookup(scored, ["nobody"] * 9_999 + ["s00"])
    assert [score is None for score in answer.json()["scores"]] == [True] * 9_999 + [False]
    assert code(lookup(scored, ["s00"] * 10_001), 413) == "too_many_ids"


@pytest.mark.parametrize("ids", [None, "s00", [1], [None], [["s00"]], {"s00": 1}], ids=repr)
def test_lookup_of_no_ids(scored: Api, ids: Any) -> None:
    assert code(lookup(scored, ids), 422) == "invalid_request"


def test_unknown_samples_sets_and_versions(scored: Api) -> None:
    assert code(scored.get("/scores/nobody"), 404) == "unknown_sample"
    assert code(scored.get("/sets/core/nobody"), 404) == "unknown_sample"
    for path in ("/sets/best", "/sets/unscored", "/sets/best/s00", "/sets/CORE", "/sets/best/export"):
        assert code(scored.get(path), 404) == "unknown_set"
    for path in ("/sets/core", "/sets/core/s00", "/sets/core/export"):
        assert code(scored.get(path, version=2), 404) == "unknown_version"
        assert code(scored.get(path, version=10**30), 404) == "unknown_version"
        assert code(scored.get(path, version=0), 422) == "invalid_request"


def test_before_any_job_there_are_no_sets(api: Api) -> None:
    api.post({"id": "1", "text": "t"})
    assert code(api.get("/sets/core"), 404) == "no_sets_yet"
    assert code(api.get("/sets/core/export"), 404) == "no_sets_yet"
    assert api.read("/sets/core/1") == {
        "member": False,
        "set": "unscored",
        "version": None,
        "reason": "unscored",
    }
    assert api.read("/scores/1")["lineage"] is None


def test_every_scored_sample_is_in_one_set(scored: Api) -> None:
    held = scored.read()
    assert held["sets"] == {"core": 10, "edge": 6, "noise": 4, "unscored": 1}
    assert sum(held["sets"].values()) == held["samples"]
    seen = []
    for name in SetName:
        for sample_id in scored.walk(f"/sets/{name.value}", limit=3):
            seen.append(sample_id)
            for other in SetName:
                found = scored.read(f"/sets/{other.value}/{sample_id}")
                assert (found["member"], found["set"]) == (other is name, name.value)
    assert sorted(seen) == sorted(NORMS)


def test_pages_go_by_importance_either_way(scored: Api) -> None:
    down = scored.walk("/sets/edge", limit=4)
    assert down == [f"s{i:02}" for i in range(10, 16)]
    assert scored.walk("/sets/edge", limit=4, order="importance") == down[::-1]
    page = scored.read("/sets/edge", limit=1)
    assert (page["version"], page["total"]) == (1, 6)
    assert page["items"] == [
        {"id": "s10", "importance": 7.5, "noise_probability": None, "reason": "uncertain"}
    ]
    assert page["items"][0]["importance"] == scored.read("/scores/s10")["importance"]


def test_a_cursor_stays_on_its_version(scored: Api) -> None:
    first = scored.read("/sets/core", limit=4)
    scored.player.score({sample_id: norms[::-1] for sample_id, norms in NORMS.items()}, core_fraction=0.1)
    assert scored.read("/sets/core")["version"] == 2
    assert scored.read("/sets/core", version=1)["total"] == 10
    rest = scored.walk("/sets/core", limit=4, cursor=first["next_cursor"])
    assert rest == [f"s{i:02}" for i in range(4, 10)]
    assert [version["version"] for version in scored.read("/sets")["items"]] == [2, 1]
    assert scored.read("/sets/core/s05", version=1)["set"] == "core"
    assert scored.read("/sets/core/s05")["set"] == "edge"


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "e30",
        "💥",
        encode_cursor(PageCursor(version=1, set="core", order="-importance", next_row=11)),
        encode_cursor(PageCursor(version=1, set="core", order="-importance", next_row=-1)),
        encode_cursor(PageCursor(version=1, set="core", order="-importance", next_row=10**30)),
        encode_cursor(PageCursor(version=1, set="edge", order="-importance", next_row=1)),
        encode_cursor(PageCursor(version=1, set="core", order="importance", next_row=1)),
    ],
)
def test_broken_cursors(scored: Api, cursor: str) -> None:
    assert code(scored.get("/sets/core", cursor=cursor), 422) == "invalid_cursor"


def test_a_cursor_and_another_version_contradict_each_other(scored: Api) -> None:
    cursor = scored.read("/sets/core", limit=4)["next_cursor"]
    assert scored.get("/sets/core", cursor=cursor, version=1).status_code == 200
    assert code(scored.get("/sets/core", cursor=cursor, version=2), 422) == "invalid_cursor"


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 1001}, {"order": "id"}, {"version": "one"}], ids=repr
)
def test_questions_that_make_no_sense(scored: Api, params: dict[str, Any]) -> None:
    assert code(scored.get("/sets/core", **params), 422) == "invalid_request"


def test_old_versions_are_dropped_and_the_rest_stay(serve: Any) -> None:
    api = serve(set_versions_kept=3)
    api.put()
    api.post(*({"id": i, "text": "t", "label": 1} for i in "ab"))
    for _ in range(5):
        api.player.score({"a": [2.0], "b": [1.0]})
    assert [version["version"] for version in api.read("/sets")["items"]] == [5, 4, 3]
    assert code(api.get("/sets/core", version=2), 404) == "unknown_version"
    assert api.read("/sets/core", version=3)["total"] == 1
    keys = [key.decode() for key in api.state.client.scan_iter(match=f"{api.state.keys.prefix}:*:v:*")]
    assert {key.split(":v:")[1].split(":")[0] for key in keys} == {"3", "4", "5"}


@examples(max_examples=25, deadline=None)
@given(
    limit=st.integers(1, 12),
    void=st.sets(st.integers(0, 9)),
    order=st.sampled_from(["importance", "-importance"]),
)
def test_any_page_size_shows_each_valid_member_once(
    scored_once: Player, limit: int, void: set[int], order: use.Order
) -> None:
    """Whichever members are void, a walk shows the others in order, and no page but the last is short."""
    store = scored_once
    dataset = store.state.datasets.get("d")
    gone = {f"s{i:02}" for i in void}
    real = SetStore.members

    def members(self: SetStore, *args: Any) -> Any:
        return [one for one in real(self, *args) if one.sample_id not in gone]

    wanted = [sample_id for sample_id in sorted(NORMS)[:10] if sample_id not in gone]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SetStore, "members", members)
        seen: list[str] = []
        cursor = None
        while True:
            page = use.page(
                store.state, dataset, SetName.CORE, version=None, order=order, limit=limit, cursor=cursor
            )
            seen += [item.id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.items) == limit
    assert seen == (wanted if order == "-importance" else wanted[::-1])


@pytest.fixture(scope="module")
def scored_once(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    held = Settings(redis_url=redis_url, data_url=str(tmp_path_factory.mktemp("data")), key_prefix="once")
    state = open_state(held)
    player = Player(state, held)
    player.dataset([{"id": i, "text": "t", "label": 1} for i in NORMS])
    player.score(NORMS)
    yield player
    state.close()
