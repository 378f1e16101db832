"""Bodies of answers about behaviour logs, and how their rows are documented."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app.api.bulk import bulk_body
from app.api.schemas import Rejected
from app.contracts.base import Timestamp
from app.contracts.behaviors import Behavior
from app.ingest.event_rows import BEHAVIOR_NAMES, EVENT_COLUMNS, ITEM_COLUMNS

_ID = {"type": ["string", "integer"], "minLength": 1, "maxLength": 1024}
_TEXT = {"type": ["string", "null"]}
_META = {"type": ["object", "null"]}
_OTHER_NAMES = "Fields may have other names as well: see docs/events.md, and the parameter `column`."
_EVENT = {
    "type": "object",
    "description": _OTHER_NAMES,
    "properties": {
        "user": _ID | {"description": "Stored as a keyed hash only."},
        "item": _ID,
        "behavior": {
            "type": "string",
            "description": "One of "
            + "; ".join(
                f"{behavior.value}: {', '.join(names)}" for behavior, names in BEHAVIOR_NAMES.items()
            ),
        },
        "timestamp": {
            "type": ["string", "number"],
            "description": "RFC 3339, or seconds, milli- or microseconds since 1970. Not before 1970, not "
            "more than a day in the future.",
        },
        "query": _TEXT,
        "session": {"type": ["string", "integer", "null"]},
        "item_text": _TEXT | {"description": "Used where the catalogue has no text of the item."},
        "quantity": {"type": ["number", "string", "null"]},
        "meta": _META,
    },
}
_ITEM = {
    "type": "object",
    "description": _OTHER_NAMES,
    "properties": {"item": _ID, "text": {"type": "string"}, "meta": _META},
}


def _csv(columns: dict[str, Any]) -> str:
    return f"Header with {', '.join(columns)} or other names of them; further columns become `meta`."


EVENTS_BODY = bulk_body("events", _EVENT, _csv(dict(EVENT_COLUMNS)))
ITEMS_BODY = bulk_body("items", _ITEM, _csv(dict(ITEM_COLUMNS)))


class BulkOut(BaseModel):
    received: int
    created: int
    updated: int
    unchanged: int = Field(description="Rows that are there already, or stood in the request before.")
    rejected_total: int
    rejected: list[Rejected] = Field(description="The first 10,000 of them.")
    masked: dict[str, int] = Field(description="Places of personal data that were masked, by kind.")


class BotsOut(BaseModel):
    users: int
    events: int


class EventSummary(BaseModel):
    events: int
    behaviors: dict[Behavior, int]
    users: int
    items: int
    first_at: Timestamp | None
    last_at: Timestamp | None
    repeats: int = Field(
        description="Events that agree with another one in user, item, behaviour, time and query."
    )
    bots: BotsOut
    items_without_text: int = Field(description="Items of events of which no text is known.")
    catalogue: int = Field(description="Items that a catalogue brought.")


class ForgottenOut(BaseModel):
    events: int
    samples: int
