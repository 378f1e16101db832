"""The mean gradient of every sample over its visits, projected: `response=vector`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class MeanProjections:
    """Running mean of each sample's projected gradient, float16 with one float32 scale a sample.

    The scale keeps the largest entry near one: gradients of a nearly fitted sample lie far below what
    float16 can hold. Memory: ``samples * (2 * dim + 8)`` bytes.
    """

    def __init__(self, samples: int, dim: int) -> None:
        self.values: NDArray[np.float16] = np.zeros((samples, dim), dtype=np.float16)
        self.scales: NDArray[np.float32] = np.zeros(samples, dtype=np.float32)
        self.visits: NDArray[np.int32] = np.zeros(samples, dtype=np.int32)

    def mean(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(len(rows), dim)``: ``(1/t) sum of the t projections`` seen."""
        found: NDArray[np.float32] = self.values[rows].astype(np.float32) * self.scales[rows, None]
        return found

    def add(self, rows: NDArray[np.int64], projections: NDArray[np.float32]) -> None:
        """One visit of each of these samples, which are distinct; ``projections`` ``(len(rows), dim)``."""
        self.visits[rows] += 1
        before = self.mean(rows)
        mean = before + (projections - before) / self.visits[rows, None].astype(np.float32)
        scales = np.abs(mean).max(axis=1)
        self.scales[rows] = scales
        self.values[rows] = mean / np.where(scales > 0, scales, 1.0)[:, None]

    def response(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """``|mean over visits of g_i|``, estimated by the projection's length."""
        lengths: NDArray[np.float32] = np.linalg.norm(self.mean(rows), axis=1).astype(np.float32)
        return lengths

    def coherence(self, rows: NDArray[np.int64], mean_norms: NDArray[np.float32]) -> NDArray[np.float32]:
        """``|mean g_i| / mean |g_i|``: one if a sample always pulls the same way, near zero if it wavers."""
        divisors = np.where(mean_norms > 0, mean_norms, 1.0)
        return (self.response(rows) / divisors).astype(np.float32)
