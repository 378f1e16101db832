"""Spreading a selection over an embedding: facility location by lazy greedy, in partitions."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from models.selection.shares import quotas

Floats32 = NDArray[np.float32]
PARTITION = 2_000
"""The similarities within a partition are a matrix of 16 MB. More samples are served partition by
partition."""


def spread(
    embedding: Floats32, places: int, order: NDArray[np.int64], taken: Floats32 | None = None
) -> NDArray[np.int64]:
    """Which of m samples to take so that every sample has a taken one near it: (places,) positions, best
    first.

    Maximises the facility location function Σ_i max_{j taken} s_ij, where s is the cosine cut off at 0, by
    lazy greedy (Minoux 1978), which reaches 1 − 1/e of the best value (Nemhauser et al. 1978).

    More than 2,000 samples are cut into partitions, each with its share of the places: `order` (m,) says
    which sample goes to which, and should be random. Memory grows with the partition, time with m · places.

    embedding: (m, dim), rows of length 1. taken: (t, dim), in random order, what is taken already; each
    partition has its share of it.
    """
    count = len(embedding)
    parts = max(1, -(-count // PARTITION))
    members = [order[part::parts] for part in range(parts)]
    shares = quotas(np.array([len(part) for part in members], dtype=np.int64), places)
    before = embedding[:0] if taken is None else taken
    chosen = [
        members[part][_greedy(embedding[members[part]], int(shares[part]), before[part::parts])]
        for part in range(parts)
    ]
    return np.concatenate([np.zeros(0, dtype=np.int64), *chosen])


def _greedy(embedding: Floats32, places: int, before: Floats32) -> NDArray[np.int64]:
    similar = np.maximum(embedding @ embedding.T, 0.0)
    covered = np.zeros(len(embedding), dtype=np.float32)
    for start in range(0, len(before), PARTITION):
        near = (embedding @ before[start : start + PARTITION].T).max(axis=1)
        np.maximum(covered, near, out=covered)
    gains = np.maximum(similar - covered, 0.0).sum(axis=1)
    # Gains only shrink as more is covered: one that is still the highest after it was computed anew is right.
    heap = [(-gain, position) for position, gain in enumerate(gains.tolist())]
    heapq.heapify(heap)
    taken: list[int] = []
    while len(taken) < places:
        _, position = heapq.heappop(heap)
        row = similar[position]
        gain = float(np.maximum(row - covered, 0.0).sum())
        if not heap or gain >= -heap[0][0]:
            taken.append(position)
            np.maximum(covered, row, out=covered)
        else:
            heapq.heappush(heap, (-gain, position))
    return np.array(taken, dtype=np.int64)
