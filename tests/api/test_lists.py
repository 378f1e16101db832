"""GET samples: every filter, every order, each row once."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from app.services.cursors import encode_cursor
from app.services.samples import Filters, ListCursor, _digest
from tests.api.asking import Api, code

ORDERS = ("ordinal", "importance", "-importance")
COUNT = 30


@pytest.fixture
def full(api: Api) -> tuple[Api, dict[str, dict[str, Any]], dict[str, float]]:
    """30 samples, 20 of them scored, some with the same importance; rows and importances by id."""
    turn = random.Random(5)
    rows = {
        f"s{i}": {
            "id": f"s{i}",
            "text": f"Text {i} {turn.choice(['Dress', 'coat', '长裙'])}",
            "label": turn.choice(["yes", "no", 1]),
            "split": "train" if i < 25 else turn.choice(["validation", "test"]),
        }
        for i in range(COUNT)
    }
    api.post(*rows.values())
    norms = {sample_id: float(turn.randrange(1, 8)) for sample_id in list(rows)[:20]}
    api.player.score({sample_id: [norm] for sample_id, norm in norms.items()})
    return api, rows, norms


def expected(
    api: Api, rows: dict[str, dict[str, Any]], norms: dict[str, float], asked: dict[str, Any]
) -> list[str]:
    """The plain twin: filter and sort in Python. Ties and unscored samples by ordinal, the latter last."""
    kept = []
    for sample_id, row in rows.items():
        of_set = api.read(f"/scores/{sample_id}")["set"] if "set" in asked else None
        if (
            asked.get("set") in (None, of_set)
            and asked.get("split") in (None, row["split"])
            and asked.get("label") in (None, str(row["label"]))
            and asked.get("q", "").lower() in row["text"].lower()
            and norms.get(sample_id, -1.0) >= asked.get("min_importance", -1.0)
        ):
            kept.append(sample_id)
    order = asked.get("order", "ordinal")
    if order == "ordinal":
        return kept
    sign = 1 if order == "importance" else -1
    return sorted(kept, key=lambda sample_id: (sample_id not in norms, sign * norms.get(sample_id, 0.0)))


FILTERS: list[dict[str, Any]] = [
    {},
    {"split": "test"},
    {"label": "yes"},
    {"label": "1"},
    {"q": "dRESS"},
    {"q": "长"},
    {"set": "core"},
    {"set": "noise"},
    {"set": "unscored"},
    {"min_importance": 4},
    {"min_importance": 0, "label": "no"},
    {"set": "edge", "q": "coat", "split": "train"},
    {"set": "core", "min_importance": 6.5, "label": "yes"},
]


def test_every_filter_in_every_order(full: tuple[Api, dict[str, dict[str, Any]], dict[str, float]]) -> None:
    api, rows, norms = full
    for asked, order in itertools.product(FILTERS, ORDERS):
        params = asked | {"order": order}
        wanted = expected(api, rows, norms, params)
        assert api.walk("/samples", limit=1000, **params) == wanted, params
        assert api.walk("/samples", limit=4, **params) == wanted, params


@pytest.mark.parametrize("limit", [1, 2, 7, 29, 30, 31])
@pytest.mark.parametrize("order", ORDERS)
def test_every_page_size_shows_each_sample_once(
    full: tuple[Api, dict[str, dict[str, Any]], dict[str, float]], order: str, limit: int
) -> None:
    api, rows, norms = full
    assert api.walk("/samples", order=order, limit=limit) == expected(api, rows, norms, {"order": order})


@pytest.mark.parametrize("order", ORDERS)
def test_samples_that_change_between_pages_shift_no_others(
    full: tuple[Api, dict[str, dict[str, Any]], dict[str, float]], order: str
) -> None:
    api, rows, norms = full
    wanted = expected(api, rows, norms, {"order": order, "set": "core"})
    page = api.read("/samples", order=order, set="core", limit=4)
    first = [item["id"] for item in page["items"]]
    assert first == wanted[:4]
    api.post(rows[first[0]] | {"text": "other content, so no core member any more"})
    api.http.delete(f"/v1/datasets/d/samples/{first[1]}")
    rest = api.walk("/samples", order=order, set="core", limit=4, cursor=page["next_cursor"])
    assert rest == wanted[4:]


QUEER = [
    "100% wool",
    "it's",
    "a_b",
    "back\\slash",
    'say "hi"',
    "a' OR '1'='1",
    "'; DROP TABLE x; --",
    "{}",
]


@pytest.mark.parametrize("text", QUEER)
def test_text_is_searched_literally(api: Api, text: str) -> None:
    api.post(
        *({"id": str(i), "text": f"before {one} after", "label": one} for i, one in enumerate(QUEER)),
        {"id": "x", "text": "nothing of it"},
    )
    assert api.walk("/samples", q=text) == [str(QUEER.index(text))]
    assert api.walk("/samples", label=text) == [str(QUEER.index(text))]
    assert api.walk("/samples", q=text.swapcase() + "?") == []


@pytest.mark.parametrize("text", ["%", "_", "'", "\\", "''", "--"])
def test_wildcards_and_quotes_mean_themselves(api: Api, text: str) -> None:
    api.post({"id": "plain", "text": "abc"}, {"id": "has", "text": f"a{text}c"})
    assert api.walk("/samples", q=text) == ["has"]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 1001},
        {"limit": "many"},
        {"limit": "1e3"},
        {"limit": 10**30},
        {"set": "best"},
        {"split": "dev"},
        {"order": "random"},
        {"min_importance": -1},
        {"min_importance": "nan"},
        {"min_importance": "inf"},
        {"q": "x" * 1025},
        {"cursor": "x" * 1025},
    ],
    ids=repr,
)
def test_questions_that_make_no_sense(api: Api, params: dict[str, Any]) -> None:
    assert code(api.get("/samples", **params), 422) == "invalid_request"


def own_cursor(**changes: Any) -> str:
    values: dict[str, Any] = {
        "filters": _digest(repr(Filters())),
        "version": 0,
        "at": 0,
        "key": 0.0,
    } | changes
    return encode_cursor(ListCursor(**values))


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "====",
        "e30",
        "bnVsbA",
        "W10",
        "💥",
        own_cursor(at=-1),
        own_cursor(at=10**30),
        own_cursor(version=-1),
        own_cursor(version=10**30),
        own_cursor(filters="other"),
    ],
)
def test_broken_cursors(api: Api, cursor: str) -> None:
    for order in ORDERS:
        assert code(api.get("/samples", cursor=cursor, order=order), 422) == "invalid_cursor"


def test_a_cursor_of_other_filters_is_refused(full: tuple[Api, Any, Any]) -> None:
    api, _, _ = full
    cursor = api.read("/samples", limit=2, label="yes")["next_cursor"]
    assert code(api.get("/samples", limit=2, label="no", cursor=cursor), 422) == "invalid_cursor"
    assert code(api.get("/samples", limit=2, cursor=cursor), 422) == "invalid_cursor"
    assert api.get("/samples", limit=9, label="yes", cursor=cursor).status_code == 200
