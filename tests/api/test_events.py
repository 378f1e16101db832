"""Behaviour logs over HTTP: rows by row, idempotent, hashed, masked, and forgotten."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contracts import JobKind, now
from app.contracts.access import JobOrigin
from app.contracts.params import LabelParams
from app.ingest.event_retention import look_after_events
from app.services.jobs import create_job
from app.store.pseudonyms import KEY_FILE, open_pseudonyms
from tests.api.asking import Api, code

DAY = "2024-05-01T10:00:00Z"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def row(**given: Any) -> dict[str, Any]:
    return {"user": "ann@shop.example", "item": "i1", "behavior": "buy", "timestamp": DAY} | given


def post(api: Api, *rows: Any, what: str = "events", **query: Any) -> Any:
    return api.http.post(f"/v1/datasets/d/{what}", json={what: list(rows)}, params=query)


def stored(api: Api) -> list[dict[str, Any]]:
    dataset = api.state.datasets.get("d")
    names = api.state.events.log.schema.names
    return list(api.state.events.log.read(dataset, names).sort_by("at").to_pylist())


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def test_the_same_event_changes_nothing(api: Api) -> None:
    other = row(timestamp="2024-05-01T10:00:01Z")
    answer = post(api, row(), other, row())
    assert answer.status_code == 200
    counts = {"received": 3, "created": 2, "updated": 0, "unchanged": 1, "rejected_total": 0}
    assert answer.json() == counts | {"rejected": [], "masked": {}}
    assert post(api, row(), other, row(item="i2")).json()["unchanged"] == 2
    assert len(stored(api)) == 3


def test_users_and_sessions_are_hashes_under_a_kept_key(api: Api, tmp_path: Path) -> None:
    post(api, row(user="ann", session="visit-1"), row(user="ann", timestamp=0), row(user="bob", timestamp=1))
    ann, bob = (open_pseudonyms(api.player.settings).user(name) for name in ("ann", "bob"))
    assert [event["user"] for event in stored(api)] == [ann, bob, ann]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert b"visit-1" not in on_disk(tmp_path / "datasets")
    (tmp_path / KEY_FILE).unlink()
    assert code(post(api, row()), 409) == "pseudonym_key_changed"
    assert code(api.http.delete("/v1/datasets/d/users/ann/events"), 409) == "pseudonym_key_changed"


def test_a_key_of_the_settings(serve: Callable[..., Api], tmp_path: Path) -> None:
    api = serve(pseudonym_key="a secret of the team")
    api.put()
    assert post(api, row()).status_code == 200
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"timestamp": -1}, "invalid_timestamp"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "invalid_timestamp"),
        ({"timestamp": (now() + timedelta(days=2)).isoformat()}, "invalid_timestamp"),
        ({"timestamp": 1e300}, "invalid_timestamp"),
        ({"timestamp": "20240501"}, "invalid_timestamp"),
        ({"timestamp": "yesterday"}, "invalid_timestamp"),
        ({"behavior": "stare"}, "unknown_behavior"),
        ({"user": ""}, "invalid_row"),
        ({"user": "a\nb"}, "invalid_row"),
        ({"item": None}, "invalid_row"),
        ({"quantity": "many"}, "invalid_row"),
        ({"surprise": 1}, "invalid_row"),
        ({"query": "x" * 200_001}, "text_too_long"),
    ],
)
def test_bad_rows_stand_alone(api: Api, given: dict[str, Any], expected: str) -> None:
    answer = post(api, row(**given))
    assert code(answer, 422) == "all_rows_rejected"
    assert [error["code"] for error in answer.json()["errors"]] == [expected]
    answer = post(api, row(), row(**given), row(item="i3"))
    assert answer.status_code == 207
    assert [(one["index"], one["code"]) for one in answer.json()["rejected"]] == [(1, expected)]
    assert len(stored(api)) == 2


def test_an_unknown_behaviour_is_told_the_known_ones(api: Api) -> None:
    detail = post(api, row(behavior="stare")).json()["errors"][0]["detail"]
    assert all(name in detail for name in ("view", "click", "cart", "buy", "cancel", "加购"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"events": 1}', 422),
        (b'{"rows": []}', 422),
        (b'{"events": []}', 422),
        (b'{"events": [1, {}]}', 422),
    ],
)
def test_bodies_that_are_no_events(api: Api, body: bytes, expected: int) -> None:
    answer = api.http.post("/v1/datasets/d/events", content=body)
    assert answer.status_code == expected


def test_streams_with_columns_of_other_names(api: Api) -> None:
    csv = "customer,sku,action,at,title,country\nann,1,浏览,2024-05-01 10:00:00,Red shoe,FR\nann,1,,,,\n"
    query = {"column": ["user:customer", "timestamp:at"]}
    answer = api.http.post(
        "/v1/datasets/d/events", content=csv, headers={"Content-Type": "text/csv"}, params=query
    )
    assert answer.status_code == 207, answer.text
    assert answer.json()["rejected"][0]["code"] == "missing_field"
    lines = "".join(
        json.dumps({"customer": 7, "item_id": n, "event_type": "pv", "at": 1714557600 + n}) + "\n"
        for n in range(3)
    )
    answer = api.http.post(
        "/v1/datasets/d/events",
        content=lines,
        headers={"Content-Type": "application/x-ndjson"},
        params=query,
    )
    assert answer.json()["created"] == 3, answer.text
    assert json.loads(stored(api)[0]["meta"]) == {"country": "FR"}
    cells = {"uid": [1, 2], "sku": ["a", "b"], "action": ["buy"] * 2, "time": [NOON] * 2, "x": [1.5, None]}
    file = BytesIO()
    pq.write_table(pa.table(cells), file)
    packed = {"Content-Type": "application/vnd.apache.parquet", "Content-Encoding": "gzip"}
    path = "/v1/datasets/d/events"
    answer = api.http.post(path, content=gzip.compress(file.getvalue()), headers=packed)
    assert answer.json()["created"] == 2, answer.text
    headless = api.http.post(
        "/v1/datasets/d/events", content="a,b\n1,2\n", headers={"Content-Type": "text/csv"}
    )
    assert code(headless, 400) == "invalid_csv"
    assert code(post(api, row(), column=["person:user"]), 422) == "invalid_request"


def test_texts_are_masked_unless_the_dataset_says_otherwise(api: Api, tmp_path: Path) -> None:
    said = row(
        query="mail ann@shop.example", item_text="Call +49 170 1234567", meta={"note": "bob@x.example"}
    )
    assert post(api, said).json()["masked"] == {"email": 2, "phone": 1}
    assert b"bob@x.example" not in on_disk(tmp_path / "datasets")
    assert post(api, said).json()["unchanged"] == 1
    api.put(settings={"mask_events": False})
    answer = post(api, row(item="i2", query="mail ann@shop.example"))
    assert answer.json()["masked"] == {}
    assert {event["query"] for event in stored(api)} == {"mail [EMAIL]", "mail ann@shop.example"}


def test_the_catalogue_wins_over_texts_of_events(api: Api) -> None:
    post(api, row(item_text="from an event"), row(item="i2", item_text="only here"))
    answer = post(
        api, {"id": "i1", "title": "from the catalogue"}, {"item": "i3", "text": "new"}, what="items"
    )
    assert (answer.json()["updated"], answer.json()["created"]) == (1, 1)
    post(api, row(item_text="later", timestamp=5))
    again = post(api, {"item": "i3", "text": "new"}, {"item": "i3", "text": " "}, what="items")
    assert (again.status_code, again.json()["unchanged"]) == (207, 1)
    items = api.state.events.items.read(api.state.datasets.get("d"), ["item", "text"]).to_pylist()
    assert {one["item"]: one["text"] for one in items} == {
        "i1": "from the catalogue",
        "i2": "only here",
        "i3": "new",
    }


def test_the_summary_flags_repeats_and_bots(api: Api) -> None:
    empty = api.read("/events/summary")
    assert (empty["events"], empty["first_at"], empty["items_without_text"]) == (0, None, 0)
    fast = [row(user="bot", item=f"b{n}", timestamp=1000 + n) for n in range(40)]
    again = [row(user="ann", quantity=quantity, item_text="one") for quantity in (1, 2)]
    basket = [row(user="eve", item=f"e{n}") for n in range(60)]
    post(api, *fast, *again, *basket)
    found = api.read("/events/summary")
    assert found["behaviors"] == {"view": 0, "click": 0, "cart": 0, "buy": 102, "cancel": 0}
    assert (found["events"], found["users"], found["items"]) == (102, 3, 101)
    assert (found["repeats"], found["bots"]) == (1, {"users": 1, "events": 40})
    assert (found["items_without_text"], found["catalogue"]) == (100, 0)
    assert (found["first_at"], found["last_at"]) == ("1970-01-01T00:16:40.000Z", "2024-05-01T10:00:00.000Z")
    assert api.read("/events/summary", max_events_per_minute=50)["bots"]["users"] == 0


def test_a_user_is_forgotten_on_disk_too(api: Api, tmp_path: Path) -> None:
    user = open_pseudonyms(api.player.settings).user("a/b")
    post(api, row(user="a/b", query="unrepeatable words"), row(user="bob"))
    api.post({"id": f"event:{user}:{'0' * 32}", "text": "unrepeatable words"}, {"id": "mine", "text": "t"})
    assert b"unrepeatable" in on_disk(tmp_path / "datasets")
    forgotten = api.http.delete("/v1/datasets/d/users/a%2Fb/events")
    assert forgotten.json() == {"events": 1, "samples": 1}
    held = on_disk(tmp_path / "datasets")
    assert b"unrepeatable" not in held
    assert user.encode() not in held
    assert api.walk("/samples") == ["mine"]
    assert [event["user"] != user for event in stored(api)] == [True]
    assert api.http.delete("/v1/datasets/d/users/a%2Fb/events").json() == {"events": 0, "samples": 0}


def test_nobody_is_forgotten_while_a_job_reads_the_events(api: Api) -> None:
    assert code(api.job(kind="label"), 422) == "no_events"
    post(api, row())
    asked = api.job(kind="label", params={"split": {"test_from": "2024-01-01T00:00:00Z"}})
    assert asked.status_code == 202, asked.text
    assert asked.json()["params"]["split"]["test_from"] == "2024-01-01T00:00:00.000Z"
    path = "/v1/datasets/d/users/ann@shop.example/events"
    assert api.state.jobs.claim("w", 60.0) is not None
    assert code(api.http.delete(path), 409) == "labels_running"
    api.http.delete("/v1/datasets/d")
    assert code(api.http.delete(path), 404) == "unknown_dataset"


def test_label_params_are_checked(api: Api) -> None:
    post(api, row())
    for params in (
        {"grades": {"stare": 1}},
        {"grades": {"buy": -1}},
        {"split": {"validation": 0.5, "test": 0.5}},
        {"split": {"test_from": "2024-01-01T00:00:00"}},
        {"split": {"validation_from": "2024-02-01T00:00:00Z", "test_from": "2024-01-01T00:00:00Z"}},
        {"history_behaviors": ["cancel"]},
        {"negatives": "some"},
        {"num_train_epochs": 1},
    ):
        assert code(api.job(kind="label", params=params), 422) == "invalid_request", params
    assert code(api.job(kind="label", model="demo"), 422) == "model_unused"


def test_old_events_go_and_those_of_a_dropped_dataset(api: Api, tmp_path: Path) -> None:
    post(api, row(), row(timestamp=now().isoformat()))
    look_after_events(api.state)
    assert len(stored(api)) == 2
    api.put(settings={"event_retention_days": 30})
    look_after_events(api.state)
    assert len(stored(api)) == 1
    create_job(
        api.state,
        api.player.settings,
        lambda: None,
        dataset_name="d",
        kind=JobKind.LABEL,
        model=None,
        params=LabelParams(),
        origin=JobOrigin(),
        idempotency_key=None,
    )
    assert api.http.delete("/v1/datasets/d").status_code == 204
    assert list((tmp_path / "datasets").glob("*.lance")) == []
