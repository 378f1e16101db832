"""Behaviour logs and the catalogue of their items, beside a dataset's samples.

An event is stored under a digest of all that it says, so the same one sent again changes nothing. Users and
sessions are keyed hashes (`app.store.pseudonyms`); an item's text is stored once, with the item.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from app.contracts import Dataset
from app.errors import Conflict
from app.store.pseudonyms import Pseudonyms
from app.store.side_tables import SideTable

EVENTS = pa.schema(
    [
        pa.field("key", pa.binary(16), nullable=False),
        pa.field("user", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("behavior", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("query", pa.string()),
        pa.field("session", pa.string()),
        pa.field("quantity", pa.float64()),
        pa.field("meta", pa.string()),  # a JSON object
    ]
)
ITEMS = pa.schema(
    [
        pa.field("item", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("meta", pa.string()),  # a JSON object
        pa.field("catalogue", pa.bool_(), nullable=False),  # false: the text came with an event
    ]
)
FINGERPRINT = b"pseudonym_key"


class EventStore:
    def __init__(self, data_url: str) -> None:
        self.log = SideTable(data_url, "events", EVENTS, "key")
        self.items = SideTable(data_url, "items", ITEMS, "item")

    @property
    def tables(self) -> dict[str, SideTable]:
        """By the names of their files in a backup."""
        return {"events": self.log, "items": self.items}

    def append(self, dataset: Dataset, rows: pa.Table, pseudonyms: Pseudonyms) -> int:
        """Stores the events that are not there yet; how many those were.

        Raises:
            Conflict: the users who are there were hashed under another key.
        """
        self.check_key(dataset, pseudonyms)
        return self.log.insert(dataset, rows.replace_schema_metadata({FINGERPRINT: pseudonyms.fingerprint}))

    def check_key(self, dataset: Dataset, pseudonyms: Pseudonyms) -> None:
        """Raises Conflict where the users who are there were hashed under another key."""
        held = self.log.metadata(dataset).get(FINGERPRINT, pseudonyms.fingerprint)
        if held != pseudonyms.fingerprint:
            detail = f"the users of {dataset.name!r} were hashed under another key than the present one"
            raise Conflict("pseudonym_key_changed", detail)

    def delete_before(self, dataset: Dataset, moment: datetime) -> int:
        return self.log.delete(dataset, f"at < timestamp '{moment.isoformat(timespec='seconds')}'")

    def delete_user(self, dataset: Dataset, user: str) -> int:
        """user: the keyed hash."""
        return self.log.delete(dataset, f"user = '{user}'")

    def drop(self, dataset: Dataset) -> None:
        for table in self.tables.values():
            table.drop(dataset)

    def pin(self, dataset: Dataset, tag: str) -> dict[str, int]:
        """The versions of both tables, kept from clean-up under a name; the same name gives the same."""
        return {name: table.pin(dataset, tag) for name, table in self.tables.items()}

    def unpin(self, dataset: Dataset, tag: str) -> None:
        for table in self.tables.values():
            table.unpin(dataset, tag)
