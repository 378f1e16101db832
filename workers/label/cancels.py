"""Purchases that were taken back."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from workers.label.event_log import BUY, CANCEL, EventLog, Mask
from workers.label.sessions import Cuts


def taken_back(log: EventLog, cuts: Cuts) -> Mask:
    """Purchases that a cancel takes back: each one the last purchase of the same item by the same user that
    is not taken back yet. `(events,)`

    Only a cancel on the same side of the cuts counts: what is trained on must not know of a later one.
    """
    found = np.zeros(len(log), dtype=bool)
    pairs = log.user * max(1, len(log.items)) + log.item
    concerned = np.isin(pairs, pairs[log.behavior == CANCEL])
    places = np.flatnonzero(concerned & ((log.behavior == BUY) | (log.behavior == CANCEL)))
    side = cuts.side(log.at[places])
    cancels = log.behavior[places] == CANCEL
    order = np.lexsort((places, cancels, log.at[places], side, pairs[places]))
    rows = zip(
        pairs[places][order].tolist(),
        side[order].tolist(),
        cancels[order].tolist(),
        places[order].tolist(),
        strict=True,
    )
    for _, of_one in groupby(rows, key=lambda row: row[:2]):
        bought: list[int] = []
        for _, _, cancel, place in of_one:
            if not cancel:
                bought.append(place)
            elif bought:
                found[bought.pop()] = True
    return found
