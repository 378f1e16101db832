"""How wide sums of squares are."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """Float32 at least: half precision would overflow, or lose small terms beside large ones."""
    return dtype if dtype == torch.float64 else torch.float32


def widened(values: Tensor) -> Tensor:
    return values.to(accumulator_dtype(values.dtype))


def row_dot(left: Tensor, right: Tensor) -> Tensor:
    """``(batch, ...) x (batch, ...) -> (batch,)``, as wide as the left one's sums have to be."""
    flat_left = widened(left.flatten(1))
    flat_right = right.flatten(1).to(flat_left.dtype)
    return torch.bmm(flat_left.unsqueeze(1), flat_right.unsqueeze(2)).flatten()
