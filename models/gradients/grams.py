"""The Gram matrices of the last tensor asked for: query, key and value share their input."""

from __future__ import annotations

import torch
from torch import Tensor

from models.gradients.precision import widened


class GramCache:
    """Keeps one tensor and its ``(batch, rows, rows)`` Gram matrices.

    The tensor itself is kept, so that its memory cannot hold another one while its address is the key.
    """

    def __init__(self) -> None:
        self._values: Tensor | None = None
        self._gram: Tensor | None = None
        self._version = 0

    def holds(self, values: Tensor) -> bool:
        kept = self._values
        return (
            kept is not None
            and kept.data_ptr() == values.data_ptr()
            and kept.shape == values.shape
            and kept.stride() == values.stride()
            and kept.dtype == values.dtype
            and self._version == values._version
        )

    def gram(self, values: Tensor) -> Tensor:
        """``values values^T`` per sample, of ``(batch, rows, features)``."""
        if self._gram is None or not self.holds(values):
            self._values, self._version = values, values._version
            wide = widened(values)
            self._gram = torch.bmm(wide, wide.mT)
        return self._gram
