"""Items that a user did not want, or did not touch though they were there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.label.event_log import Codes, EventLog, Mask
from workers.label.sessions import Sessions
from workers.label.units import Units

Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class Negatives:
    """of: the positive unit that each was drawn for, with its user, session, query, time and history."""

    of: Codes
    item: Codes


def rounds_for(negatives: int) -> int:
    """How often one is drawn for a positive: some of the items are the user's own, or drawn already."""
    return 4 * negatives + 8


def sampled(
    log: EventLog,
    sessions: Sessions,
    units: Units,
    positives: Codes,
    digests: Digests,
    *,
    with_text: Mask,
    each: int,
    seed: int,
) -> Negatives:
    """For each positive unit up to `each` items that somebody had met before it, and that its user has not
    touched up to the end of the session; none twice in a session and query.

    What is drawn depends on the seed, the unit's own digest and what was known by then: not on later events.
    """
    pool, known_from = _pool(log, with_text)
    known = np.searchsorted(known_from, units.first[positives])
    touches = _Touches(log)
    group = _groups(units)[positives]
    ends = sessions.last[units.session[positives]]
    need = np.full(len(positives), each)
    taken = of = item = np.empty(0, dtype=np.int64)
    for turn in range(rounds_for(each)):
        open_ = np.flatnonzero((need > 0) & (known > 0))
        if not len(open_):
            break
        numbers = draw(digests[positives[open_]], seed, turn) % known[open_].astype(np.uint64)
        drawn = pool[numbers.astype(np.int64)]
        marks = group[open_] * len(log.items) + drawn
        free = ~touches.until(units.user[positives[open_]], drawn, ends[open_]) & ~np.isin(marks, taken)
        open_, drawn, marks = open_[free], drawn[free], marks[free]
        first = np.sort(np.unique(marks, return_index=True)[1])
        open_, drawn = open_[first], drawn[first]
        need[open_] -= 1
        taken = np.concatenate((taken, marks[first]))
        of, item = np.concatenate((of, positives[open_])), np.concatenate((item, drawn))
    return Negatives(of, item)


def impressions(units: Units, views: Mask, wanted: Mask, digests: Digests, each: int) -> Codes:
    """Units that were only viewed: up to `each` for every wanted unit of the same session and query, those
    with the smallest digests."""
    groups = _groups(units)
    room = np.bincount(groups[wanted], minlength=len(units)) * each
    places = np.flatnonzero(views)
    places = places[np.lexsort((digests[places], groups[places]))]
    group = groups[places]
    begins = np.ones(len(group), dtype=bool)
    begins[1:] = group[1:] != group[:-1]
    start = np.maximum.accumulate(np.where(begins, np.arange(len(group)), 0))
    return np.sort(places[np.arange(len(group)) - start < room[group]])


def draw(digests: Digests, seed: int, turn: int) -> Digests:
    """A number for each digest, by SplitMix64."""
    return mixed(digests ^ mixed(np.array([(seed << 32) + turn], dtype=np.uint64)))


def mixed(numbers: Digests) -> Digests:
    """SplitMix64's output function (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _pool(log: EventLog, with_text: Mask) -> tuple[Codes, Codes]:
    """Items with a text in the order in which anybody first met them, and when that was."""
    first = np.full(len(log.items), np.iinfo(np.int64).max)
    np.minimum.at(first, log.item, log.at)
    met = np.zeros(len(log.items), dtype=bool)
    met[log.item] = True
    items = np.flatnonzero(met & with_text)
    items = items[np.lexsort((items, first[items]))]
    return items, first[items]


def _groups(units: Units) -> Codes:
    """Numbers of session and query."""
    _, numbers = np.unique(np.stack((units.session, units.query)), axis=1, return_inverse=True)
    return numbers.reshape(-1)


class _Touches:
    """When each user first had to do with each item, be it by a cancel."""

    def __init__(self, log: EventLog) -> None:
        self._items = max(1, len(log.items))
        pairs = log.user * self._items + log.item
        order = np.lexsort((log.at, pairs))
        self._pairs, first = np.unique(pairs[order], return_index=True)
        self._at = log.at[order][first]

    def until(self, user: Codes, item: Codes, moment: Codes) -> Mask:
        pairs = user * self._items + item
        place = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        met: Mask = (self._pairs[place] == pairs) & (self._at[place] <= moment)
        return met
