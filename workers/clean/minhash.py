"""MinHash (Broder 1997) with banding: which sets may be alike, without a look at every pair.

A set's signature holds, for each of `num_perm` hash functions, the least hash of its elements: two sets
agree in one place with the probability of their Jaccard similarity s. Cut into b bands of r places, their
signatures agree in a whole band with probability 1 - (1 - s^r)^b.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from workers.clean.shingles import Hashes, mix

MISSED = 1e-3
"""At most this share of the pairs that are just alike enough is missed."""
SEED = 20_210_821


class Banding(NamedTuple):
    bands: int
    rows: int

    @classmethod
    def of(cls, threshold: float, num_perm: int) -> Banding:
        """The longest bands, which give the fewest false candidates, that miss few enough."""
        for rows in range(num_perm, 1, -1):
            bands = num_perm // rows
            if (1 - threshold**rows) ** bands <= MISSED:
                return cls(bands, rows)
        return cls(num_perm, 1)


class MinHash:
    def __init__(self, banding: Banding) -> None:
        random = np.random.default_rng(SEED)
        count = banding.bands * banding.rows
        self._banding = banding
        # Multiply-shift (Dietzfelbinger et al. 1997): the upper half of a·x + b, a odd.
        self._factors = random.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._offsets = random.integers(0, 2**63, count, dtype=np.uint64)

    def band_hashes(self, sets: Sequence[Hashes]) -> Hashes:
        """(n, bands): sets that agree in a whole band have the same hash there. No set may be empty."""
        banding = self._banding
        signatures = self.signatures(sets).reshape(len(sets), banding.bands, banding.rows)
        hashed = np.empty((len(sets), banding.bands), dtype=np.uint64)
        hashed[:] = np.arange(banding.bands, dtype=np.uint64)
        for place in range(banding.rows):
            hashed = mix(hashed + signatures[:, :, place])
        return hashed

    def signatures(self, sets: Sequence[Hashes]) -> Hashes:
        """(n, bands · rows): the share of places in which two rows agree estimates the similarity."""
        starts = np.cumsum([0, *(len(one) for one in sets[:-1])])
        elements = np.concatenate(sets)
        signatures = np.empty((len(sets), len(self._factors)), dtype=np.uint64)
        for place, (factor, offset) in enumerate(zip(self._factors, self._offsets, strict=True)):
            hashed = (elements * factor + offset) >> np.uint64(32)
            signatures[:, place] = np.minimum.reduceat(hashed, starts)
        return signatures
