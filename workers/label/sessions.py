"""Which events belong together: sessions, the queries within them, and the side of a cut that they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import LabelParams
from workers.label.event_log import Codes, EventLog

STRADDLES = -1
FAR = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Sessions:
    """of_event: `(events,)`, the number of its session; the other arrays are `(sessions,)`."""

    of_event: Codes
    user: Codes
    first: Codes
    last: Codes
    names: list[str]

    def __len__(self) -> int:
        return len(self.first)


def number_sessions(log: EventLog, gap_minutes: float) -> Sessions:
    """A session is what a user did under one name of the client's, or without a longer pause than the gap.

    One that nobody named bears the time of its first event.
    """
    gap = round(gap_minutes * 60_000_000)
    named = log.session >= 0
    pairs = np.stack((log.user[named], log.session[named]))
    kinds, of_named = np.unique(pairs, axis=1, return_inverse=True)
    user, at = log.user[~named], log.at[~named]
    begins = np.ones(len(at), dtype=bool)
    begins[1:] = (user[1:] != user[:-1]) | (at[1:] - at[:-1] > gap)
    of_event = np.empty(len(log), dtype=np.int64)
    of_event[named] = of_named.reshape(-1)
    of_event[~named] = kinds.shape[1] + np.cumsum(begins) - 1
    first = np.full(kinds.shape[1] + int(begins.sum()), FAR)
    last = np.full(len(first), -1)
    np.minimum.at(first, of_event, log.at)
    np.maximum.at(last, of_event, log.at)
    users = np.concatenate((kinds[0], user[begins]))
    names = [log.sessions[code] for code in kinds[1].tolist()]
    names += [f"t{start}" for start in at[begins].tolist()]
    return Sessions(of_event, users, first, last, names)


def attributed_queries(log: EventLog, sessions: Sessions) -> Codes:
    """The query of each event; where it names none, that of the last event before it in its session that
    concerned the same item and named one. `(events,)`

    A purchase rarely says which search led to it.
    """
    order = np.lexsort((log.at, log.item, sessions.of_event))
    query = log.query[order]
    places = np.arange(len(order))
    begins = np.ones(len(order), dtype=bool)
    for column in (log.item[order], sessions.of_event[order]):
        begins[1:] &= column[1:] == column[:-1]
    begins[1:] = ~begins[1:]
    start = np.maximum.accumulate(np.where(begins, places, 0))
    said = np.maximum.accumulate(np.where(query >= 0, places, -1))
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.where(said >= start, query[said], -1)
    return found


@dataclass(frozen=True)
class Cuts:
    """Where validation and test begin, in microseconds; FAR: nowhere."""

    validation: int
    test: int

    def side(self, at: Codes) -> Codes:
        """0 train, 1 validation, 2 test."""
        return (at >= self.validation).astype(np.int64) + (at >= self.test)

    def sides(self, sessions: Sessions) -> NDArray[np.int64]:
        """Of each session the side on which all of it lies, or STRADDLES. `(sessions,)`"""
        first, last = self.side(sessions.first), self.side(sessions.last)
        return np.where(first == last, first, STRADDLES)


def cuts_of(params: LabelParams, sessions: Sessions) -> Cuts:
    """Cuts at the moments that the client names, or so that the shares of the events lie behind them, each
    event counted at the end of its session."""
    split = params.split
    if split.validation_from is not None or split.test_from is not None:
        test = FAR if split.test_from is None else _microseconds(split.test_from)
        return Cuts(test if split.validation_from is None else _microseconds(split.validation_from), test)
    ends = np.sort(sessions.last[sessions.of_event])
    test = _at_share(ends, split.test)
    return Cuts(_at_share(ends, split.validation + split.test) if split.validation else test, test)


def _at_share(ends: Codes, share: float) -> int:
    """The time from which on this share of the ends lies."""
    at = len(ends) - int(len(ends) * share)
    return int(ends[at]) if at < len(ends) else FAR


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
