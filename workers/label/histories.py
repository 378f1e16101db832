"""What a user had done before: only what lies strictly before a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workers.label.event_log import Codes, EventLog, Mask
from workers.label.sessions import Sessions
from workers.label.units import Units


@dataclass(frozen=True)
class Histories:
    """items: of all users, oldest first within each. The history of a unit is `items[start:end]`."""

    items: Codes
    start: Codes
    end: Codes

    def only(self, chosen: Mask | Codes) -> Histories:
        return Histories(self.items, self.start[chosen], self.end[chosen])

    def newest_first(self, place: int) -> list[int]:
        found: list[int] = self.items[self.start[place] : self.end[place]][::-1].tolist()
        return found


def histories(
    log: EventLog, sessions: Sessions, units: Units, *, behaviors: Codes, with_text: Mask, length: int
) -> Histories:
    """Of each unit the last items that its user met before it, each once a session.

    behaviors: codes that count. with_text: of each item, whether it has one.
    """
    chosen = np.flatnonzero(np.isin(log.behavior, behaviors) & with_text[log.item])
    user, item, at = log.user[chosen], log.item[chosen], log.at[chosen]
    session = sessions.of_event[chosen]
    order = np.lexsort((at, item, session))
    met = np.ones(len(order), dtype=bool)
    met[1:] = (item[order][1:] != item[order][:-1]) | (session[order][1:] != session[order][:-1])
    once = order[met]
    once = once[np.lexsort((item[once], session[once], at[once], user[once]))]
    user, item, at = user[once], item[once], at[once]
    # One number for user and time: that of the user first, so that a search by it stays within the user.
    times = np.unique(np.concatenate((at, units.first)))
    place = user * len(times) + np.searchsorted(times, at)
    end = np.searchsorted(place, units.user * len(times) + np.searchsorted(times, units.first))
    begin = np.searchsorted(place, units.user * len(times))
    return Histories(item, np.maximum(begin, end - length), end)
