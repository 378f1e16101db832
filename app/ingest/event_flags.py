"""Which events say nothing new, and which users are no people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOMENTS_A_MINUTE = 30
MINUTE = 60_000_000
Codes = NDArray[np.int64]


def repeats(users: Codes, items: Codes, behaviors: Codes, at: Codes, queries: Codes) -> NDArray[np.bool_]:
    """Events that agree with an earlier row in user, item, behaviour, time and query, whatever else they say
    (a session, a quantity). `(events,)`"""
    same = np.ones(len(at), dtype=bool)
    order = np.lexsort((queries, behaviors, items, at, users))  # stable: of equal rows the first one stays
    for column in (users, items, behaviors, at, queries):
        ordered = column[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    same[:1] = False
    found = np.zeros(len(at), dtype=bool)
    found[order] = same
    return found


def bots(users: Codes, at: Codes, moments_a_minute: int) -> Codes:
    """Users who act at more different moments within one minute than people do.

    What happens at one instant counts once: a basket is bought and a page of results is shown in one.

    Args:
        users: codes, `(events,)`.
        at: microseconds, `(events,)`.
    """
    order = np.lexsort((at, users))
    moments = np.stack((users[order], at[order]))
    new = np.ones(len(at), dtype=bool)
    new[1:] = (moments[:, 1:] != moments[:, :-1]).any(axis=0)
    who, when = moments[:, new]
    first, last = slice(None, -moments_a_minute), slice(moments_a_minute, None)
    fast = (who[first] == who[last]) & (when[last] - when[first] < MINUTE)
    return np.unique(who[first][fast])
