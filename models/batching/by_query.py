"""Batches that hold queries whole."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise
from typing import TypeVar

import numpy as np

from models.batching.texts import IntArray

Part = TypeVar("Part", IntArray, range)


def query_batches(queries: IntArray, batch_size: int, *, seed: int, epoch: int) -> list[IntArray]:
    """The batches of one epoch: arrays of positions, each position in exactly one of them.

    queries: (n,) codes. A query is in one batch, unless it is larger than `batch_size`: then it is shuffled
    and cut into as few and as equal parts as can be, which change from epoch to epoch. The same arguments
    give the same batches, and every epoch has as many: how large the parts of each batch are follows from the
    sizes of the queries alone (best-fit decreasing), while which queries of a size go where is drawn anew. So
    where all queries differ in size, the batches differ in their order only.
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(queries))
    order = shuffled[np.argsort(queries[shuffled], kind="stable")]
    starts = np.unique(queries[order], return_index=True)[1]
    parts = [part for whole in np.split(order, starts[1:]) for part in _cut(whole, batch_size)]
    parts = [parts[i] for i in rng.permutation(len(parts))]
    parts.sort(key=len, reverse=True)
    numbers = _best_fit([len(part) for part in parts], batch_size)
    batches: list[list[IntArray]] = [[] for _ in range(max(numbers) + 1)]
    for number, part in zip(numbers, parts, strict=True):
        batches[number].append(part)
    return [np.concatenate(batches[i]) for i in rng.permutation(len(batches))]


def count_query_batches(queries: IntArray, batch_size: int) -> int:
    """How many `query_batches` gives, whatever the seed and the epoch."""
    whole = np.unique(queries, return_counts=True)[1]
    parts = [len(part) for size in whole.tolist() for part in _cut(range(size), batch_size)]
    return max(_best_fit(sorted(parts, reverse=True), batch_size)) + 1


def _cut(positions: Part, most: int) -> list[Part]:
    """As few parts as can be, whose sizes differ by one at most."""
    count = -(-len(positions) // most)
    bounds = [len(positions) * i // count for i in range(count + 1)]
    return [positions[start:stop] for start, stop in pairwise(bounds)]


def _best_fit(sizes: list[int], capacity: int) -> list[int]:
    """The number of the batch that each part goes into: the fullest that has room, else a new one.

    sizes: falling.
    """
    numbers: list[int] = []
    with_room: list[tuple[int, int]] = []  # (room, number), rising
    opened = 0
    for size in sizes:
        place = bisect_left(with_room, (size, 0))
        if place < len(with_room):
            room, number = with_room.pop(place)
        else:
            room, number, opened = capacity, opened, opened + 1
        numbers.append(number)
        if room > size:
            insort(with_room, (room - size, number))
    return numbers
