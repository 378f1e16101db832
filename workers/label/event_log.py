"""A behaviour log as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.contracts.behaviors import BEHAVIORS, Behavior
from app.ingest.event_flags import bots, repeats

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
COLUMNS = ("key", "user", "item", "behavior", "at", "query", "session")
CANCEL = BEHAVIORS.index(Behavior.CANCEL)
BUY = BEHAVIORS.index(Behavior.BUY)


@dataclass(frozen=True)
class EventLog:
    """Events by user, time and key. Arrays are `(events,)`; -1 stands for no query and no session.

    A code is the place in the list of its names, which are in order; of a behaviour, the place in BEHAVIORS.
    """

    user: Codes
    item: Codes
    behavior: Codes
    at: Codes
    """Microseconds since 1970."""
    query: Codes
    session: Codes
    """As the client named it."""
    users: list[str]
    items: list[str]
    queries: list[str]
    sessions: list[str]

    def __len__(self) -> int:
        return len(self.at)

    def only(self, chosen: Mask) -> EventLog:
        return replace(
            self,
            user=self.user[chosen],
            item=self.item[chosen],
            behavior=self.behavior[chosen],
            at=self.at[chosen],
            query=self.query[chosen],
            session=self.session[chosen],
        )


def event_log(table: pa.Table) -> EventLog:
    """table: COLUMNS of the stored events."""
    table = table.sort_by([("user", "ascending"), ("at", "ascending"), ("key", "ascending")])
    user, users = _codes(table["user"])
    item, items = _codes(table["item"])
    query, queries = _codes(table["query"])
    session, sessions = _codes(table["session"])
    names = pa.array([behavior.value for behavior in BEHAVIORS])
    behavior = pc.index_in(table["behavior"], value_set=names).to_numpy().astype(np.int64)
    at = table["at"].cast(pa.int64()).to_numpy()
    return EventLog(user, item, behavior, at, query, session, users, items, queries, sessions)


def _codes(column: pa.ChunkedArray) -> tuple[Codes, list[str]]:
    """Each value's place among the values in order, and these."""
    encoded = column.combine_chunks().dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    places = np.full(len(names) + 1, -1, dtype=np.int64)  # the last one is what -1 finds
    places[order] = np.arange(len(names))
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return places[codes], [names[at] for at in order]


@dataclass(frozen=True)
class Cleaned:
    log: EventLog
    repeats: int
    bots: int
    bot_events: int


def cleaned(log: EventLog, *, drop_bots: bool, moments_a_minute: int) -> Cleaned:
    """Without events that say again what another one says, and without users who are no people."""
    again = repeats(log.user, log.item, log.behavior, log.at, log.query)
    suspects = bots(log.user, log.at, moments_a_minute)
    of_bots = np.isin(log.user, suspects)
    kept = ~again & ~of_bots if drop_bots else ~again
    return Cleaned(log.only(kept), int(again.sum()), len(suspects), int(of_bots.sum()))
