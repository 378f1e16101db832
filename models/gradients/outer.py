"""The weight gradient of a matrix product, and in the same work every sample's share of it.

For ``a`` ``(batch, rows, in)``, the layer's input, and ``b`` ``(batch, rows, out)``, the gradient at its
output, sample i's weight gradient is ``G_i = b_i^T a_i`` ``(out, in)``. The plain step needs ``sum_i G_i``;
we also want ``|G_i|^2`` and, for a direction D, ``<G_i, D>``. Two exact ways, the cheaper is taken:

* Gram: ``|G_i|^2 = sum_ts (a_it . a_is)(b_it . b_is)``, beside the plain product for the sum.
* Product: form each ``G_i`` once, a few at a time in a buffer that stays in cache, reduce it there to its
  norm and its dot product, and add it up: no multiplication is done twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.gradients.forms import accumulator_dtype, row_dot

_BUFFER_ELEMENTS = 1 << 19  # of the product form: 2 MB in float32, about one core's cache


@dataclass(frozen=True, slots=True)
class OuterReduction:
    """``total`` ``(out, in)``, the batch's weight gradient; ``norm_sq`` and ``dots``: ``(batch,)``."""

    total: Tensor
    norm_sq: Tensor
    dots: Tensor | None


def prefers_gram(rows: int, inputs: int, outputs: int, with_dots: bool) -> bool:
    """Whether the Gram form costs less than reducing the products, per sample.

    Gram adds ``rows^2 (in + out)`` multiplications; the product form adds passes over ``in * out`` numbers,
    each as long as some multiplications. A dot product is one more pass there, and a whole product here.
    """
    if with_dots and rows > 1:
        return False
    return rows * rows * (inputs + outputs) < 24 * inputs * outputs


def reduce_outer(a: Tensor, b: Tensor, direction: Tensor | None) -> OuterReduction:
    """``a`` ``(batch, rows, in)``, ``b`` ``(batch, rows, out)``, ``direction`` ``(out, in)`` or None."""
    if prefers_gram(a.shape[1], a.shape[2], b.shape[2], direction is not None):
        norm_sq = row_dot(torch.bmm(a, a.mT), torch.bmm(b, b.mT))
        dots = None if direction is None else row_dot(a @ direction.mT.to(a.dtype), b)
        return OuterReduction(b.flatten(0, 1).mT @ a.flatten(0, 1), norm_sq, dots)
    return _reduce_products(a, b, direction)


def _reduce_products(a: Tensor, b: Tensor, direction: Tensor | None) -> OuterReduction:
    batch, size = len(a), a.shape[2] * b.shape[2]
    dtype = accumulator_dtype(a.dtype)
    step = max(1, min(batch, _BUFFER_ELEMENTS // size))
    total = torch.zeros(size, dtype=dtype, device=a.device)
    norm_sq = torch.empty(batch, dtype=dtype, device=a.device)
    dots = None if direction is None else torch.empty_like(norm_sq)
    for first in range(0, batch, step):
        chunk = slice(first, first + step)
        products = torch.bmm(b[chunk].mT, a[chunk]).flatten(1).to(dtype)
        norm_sq[chunk] = row_dot(products, products)
        if dots is not None and direction is not None:
            dots[chunk] = products @ direction.flatten().to(dtype)
        total += products.sum(0)
    return OuterReduction(total.view(b.shape[2], a.shape[2]), norm_sq, dots)
