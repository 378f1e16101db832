"""In which order rows are worth a reviewer's time: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]


def review_orders(noise: NDArray[np.float64], classes: NDArray[np.int32]) -> list[Order]:
    """The orders, as positions in the arrays (n,), between which a queue takes turns.

    With noise probabilities q there are two, of the rows that have one: the most probable errors first, whose
    verdicts find errors and measure the precision of the noise set; and the most uncertain first (by the
    entropy of q), whose verdicts teach the estimate most. In both the classes given take turns, so that none
    fills the queue. Without any q there is one order: that of the arrays, by importance descending.

    Equal rows stand in the order of the arrays: the same arrays give the same orders.
    """
    known = np.flatnonzero(~np.isnan(noise))
    if not len(known):
        return [np.arange(len(noise), dtype=np.int64)]
    q = noise[known]
    # The entropy falls as q leaves 1/2, to either side alike: that distance orders without its rounding.
    return [known[by_turns(key, classes[known])] for key in (-q, np.abs(q - 0.5))]


def by_turns(key: NDArray[np.float64], classes: NDArray[np.int32]) -> Order:
    """Positions (n,): the lowest key of each class, then the second lowest of each, and so on; within a turn
    by key, equal keys by position."""
    by_class = np.lexsort((key, classes))
    starts = np.flatnonzero(np.diff(classes[by_class], prepend=classes[by_class][:1] - 1))
    lengths = np.diff(np.append(starts, len(key)))
    turn = np.empty(len(key), dtype=np.int64)
    turn[by_class] = np.arange(len(key)) - np.repeat(starts, lengths)
    return np.lexsort((key, turn))


def alternating(orders: Sequence[Order], skipped: NDArray[np.bool_]) -> Iterator[int]:
    """Positions from each order in turn, none twice and none that is skipped (n,): however many are taken,
    each order has given its share of them."""
    given: set[int] = set()
    rests = [map(int, order[~skipped[order]]) for order in orders]
    for rest in cycle(rests):
        following = next((position for position in rest if position not in given), None)
        if following is None:
            return  # the orders are of the same rows
        given.add(following)
        yield following
