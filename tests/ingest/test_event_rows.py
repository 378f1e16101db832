"""Names of behaviours and columns, and times, as teams write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.ingest.event_rows import (
    BEHAVIOR_NAMES,
    EVENT_COLUMNS,
    Columns,
    EventRow,
    event_reader,
    moment_of,
)
from app.ingest.event_times import microseconds

NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(name, behavior.value) for behavior, names in BEHAVIOR_NAMES.items() for name in names]
    + [("Add-To-Cart", "cart"), (" PURCHASE ", "buy"), ("page view", "view")],
)
def test_names_of_behaviours(written: str, meant: str) -> None:
    assert moment_of(EventRow(user="u", item="i", behavior=written, timestamp=0), NOW).behavior == meant


@pytest.mark.parametrize(
    "written",
    [
        *("2024-05-01T10:00:00Z", "2024-05-01 10:00:00", "2024-05-01T12:00:00+02:00", "2024-05-01 10:00"),
        *(1714557600, 1714557600.0, 1714557600000, 1714557600000000, "1714557600", "1714557600.0"),
    ],
)
def test_ways_to_write_a_time(written: Any) -> None:
    assert microseconds(written, NOW) == 1_714_557_600_000_000


def test_no_name_of_a_column_or_behaviour_means_two_things() -> None:
    columns = [name for field, names in EVENT_COLUMNS.items() for name in (field, *names)]
    behaviors = [name for names in BEHAVIOR_NAMES.values() for name in names]
    assert len(set(columns)) == len(columns)
    assert len(set(behaviors)) == len(behaviors)


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (["user_id", "Item_ID", "other"], ["user", "item", None]),
        (["uid", "user", "sku"], [None, "user", "item"]),  # our own name wins
        (["uid", "user_id"], ["user", None]),  # the earlier one wins
        (["who", "user"], ["user", None]),  # what the client names wins over both
    ],
)
def test_columns(header: list[str], fields: list[str | None]) -> None:
    given = ["user:who"] if "who" in header else []
    assert Columns(EVENT_COLUMNS, given).header(header) == fields


def test_cells_without_a_field_are_meta() -> None:
    reader = event_reader()
    cells = {"user_id": "u", "sku": 7, "behavior_type": "buy", "quantity": "-3", "country": "FR", "note": ""}
    row = reader.from_cells(cells | {"time": datetime(2024, 5, 1)})
    assert row == EventRow("u", "7", "buy", "2024-05-01T00:00:00", quantity=-3.0, meta={"country": "FR"})
    assert reader.missing(["uid", "time", "note"]) == ["item", "behavior"]
