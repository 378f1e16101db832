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
    return (widened(left) * right).flatten(1).sum(1)


def row_norm_sq(values: Tensor) -> Tensor:
    """``(batch, ...) -> (batch,)``; in one pass that writes nothing, unlike a product and its sum."""
    flat = values.flatten(1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=accumulator_dtype(flat.dtype))
    return norms.square_()
