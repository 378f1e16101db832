"""The mean gradient of every sample over its visits, projected: `response=vector`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class MeanProjections:
    """Running mean of each sample's projected gradient, float16 with one float32 scale a sample.

    The scale keeps the largest entry near one: gradients of a nearly fitted sample lie far below what
    float16 can hold. The mean norm is kept over the very same visits. Memory: ``samples * (2 * dim + 16)``
    bytes.
    """

    def __init__(self, samples: int, dim: int) -> None:
        self.values: NDArray[np.float16] = np.zeros((samples, dim), dtype=np.float16)
        self.scales: NDArray[np.float32] = np.zeros(samples, dtype=np.float32)
        self.visits: NDArray[np.int32] = np.zeros(samples, dtype=np.int32)
        self.mean_norms: NDArray[np.float64] = np.zeros(samples, dtype=np.float64)

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def mean(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(len(rows), dim)``: ``(1/t) sum of the t projections`` seen."""
        found: NDArray[np.float32] = self.values[rows].astype(np.float32) * self.scales[rows, None]
        return found

    def forget(self, rows: NDArray[np.int64]) -> None:
        """These samples have new content: their visits do not count any more."""
        self.values[rows] = 0
        self.scales[rows] = 0
        self.visits[rows] = 0
        self.mean_norms[rows] = 0

    def add(
        self, rows: NDArray[np.int64], projections: NDArray[np.float32], norms: NDArray[np.float64]
    ) -> None:
        """One visit of each of these samples, which are distinct.

        ``projections`` ``(len(rows), dim)``; ``norms`` ``(len(rows),)``, of the whole gradients.
        """
        self.visits[rows] += 1
        count = self.visits[rows]
        before = self.mean(rows)
        mean = before + (projections - before) / count[:, None].astype(np.float32)
        scales = np.abs(mean).max(axis=1)
        self.scales[rows] = scales
        self.values[rows] = mean / np.where(scales > 0, scales, 1.0)[:, None]
        self.mean_norms[rows] += (norms - self.mean_norms[rows]) / count

    def response(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """``|mean over visits of g_i|``, estimated by the projection's length."""
        lengths: NDArray[np.float32] = np.linalg.norm(self.mean(rows), axis=1).astype(np.float32)
        return lengths

    def coherence(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """``|mean g_i| / mean |g_i|``: one if a sample always pulls the same way, near zero if it wavers.

        Above one by as much as the projection is off, of the order of ``1 / sqrt(dim)``.
        """
        norms = self.mean_norms[rows]
        return (self.response(rows) / np.where(norms > 0, norms, 1.0)).astype(np.float32)
