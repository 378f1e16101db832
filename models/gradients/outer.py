"""The weight gradient of a matrix product, and in the same work every sample's share of it.

For ``a`` ``(batch, rows, in)``, the layer's input, and ``b`` ``(batch, rows, out)``, the gradient at its
output, sample i's weight gradient is ``G_i = b_i^T a_i`` ``(out, in)``. The plain step needs ``sum_i G_i``;
we also want ``|G_i|^2`` and, for a direction D, ``<G_i, D>``. Two exact ways, the cheaper is taken:

* Gram: ``|G_i|^2 = sum_ts (a_it . a_is)(b_it . b_is)``, beside the plain product for the sum.
* Product: form each ``G_i`` once, a tile at a time in a buffer that stays in cache, reduce it there to its
  norm and its dot product, and add it up: no multiplication is done twice. The compiled kernel keeps the tile
  in registers; the torch form beside it serves where there is no compiler, and other dtypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.gradients.grams import GramCache
from models.gradients.native import Kernels, kernels_for
from models.gradients.precision import accumulator_dtype, row_dot, row_norm_sq
from models.gradients.rows import Spans

_TILE_ELEMENTS = 1 << 17  # of a product: with its sum, half a core's second-level cache in float32
_CHUNK_ELEMENTS = 1 << 24  # of products formed at once where there is no such cache to keep to
_GRAM_COST = 1.9  # of a Gram matrix's multiplication, which is too small to run at full speed


@dataclass(frozen=True, slots=True)
class ProductCosts:
    """Of the product form, for each number of each product, in multiplications at full speed.

    Fitted to timings on x86-64, the kernel's on one machine alone. With a dot product it costs the torch
    form less beside what else it does.
    """

    element: float
    element_with_dot: float


_TORCH_COSTS = ProductCosts(element=16.0, element_with_dot=11.0)
_KERNEL_COSTS = ProductCosts(element=4.0, element_with_dot=5.0)


@dataclass(frozen=True, slots=True)
class OuterReduction:
    """``total`` ``(out, in)``, the batch's weight gradient; ``norm_sq`` and ``dots``: ``(batch,)``."""

    total: Tensor
    norm_sq: Tensor
    dots: Tensor | None


def reduce_outer(
    a: Tensor,
    b: Tensor,
    direction: Tensor | None,
    *,
    spans: Spans | None = None,
    grams: GramCache | None = None,
) -> OuterReduction:
    """Sum, squared norms and dot products of the samples' weight gradients.

    a: ``(batch, rows, in)``; b: ``(batch, rows, out)``; direction: ``(out, in)`` or None.
    spans: the rows of b that are not zero. grams: shares the Gram matrix of an ``a`` that several layers get.
    """
    if spans is not None and spans.are_few and max(spans.lengths) <= 1:
        return _reduce_single_rows(a, b, direction, spans)
    if not (a.is_cpu and a.dtype in (torch.float32, torch.float64)):
        return _reduce_chunks(a, b, direction)
    kernels = kernels_for(a, b)
    lengths = (a.shape[1],) * len(a) if spans is None else spans.lengths
    costs = _KERNEL_COSTS if kernels is not None else _TORCH_COSTS
    shared = grams is not None and grams.holds(a)
    if prefers_gram(lengths, a.shape[2], b.shape[2], direction is not None, shared, costs):
        gram_a = torch.bmm(a, a.mT) if grams is None else grams.gram(a)
        norm_sq = row_dot(gram_a, torch.bmm(b, b.mT))
        dots = None if direction is None else row_dot(a @ direction.mT, b)
        return OuterReduction(_total(a, b, spans), norm_sq, dots)
    if kernels is not None:
        return _reduce_by_kernel(kernels, a, b, direction, spans)
    if spans is None:
        return _reduce_tiles(a.unbind(0), b.unbind(0), direction)
    return _reduce_tiles(spans.segments(a), spans.segments(b), direction)


def prefers_gram(
    lengths: Sequence[int], inputs: int, outputs: int, with_dots: bool, shared: bool, costs: ProductCosts
) -> bool:
    """Whether the Gram form costs less than reducing the products, in multiplications at full speed.

    Gram adds ``rows^2 (in + out)`` of them; the product form adds passes over ``in * out`` numbers. A dot
    product is one more such pass, and a whole product beside a Gram matrix.
    """
    rows = max(lengths)
    gram = len(lengths) * rows * rows * (outputs + (0 if shared else inputs)) * _GRAM_COST
    element = costs.element
    if with_dots:
        gram += sum(lengths) * inputs * outputs
        element = costs.element_with_dot
    return gram < len(lengths) * inputs * outputs * element


def _total(a: Tensor, b: Tensor, spans: Spans | None) -> Tensor:
    if spans is None:
        return b.flatten(0, 1).mT @ a.flatten(0, 1)
    total = b.new_zeros(b.shape[2], a.shape[2])
    for rows_a, rows_b in zip(spans.segments(a), spans.segments(b), strict=True):
        total.addmm_(rows_b.mT, rows_a)
    return total


def _reduce_single_rows(a: Tensor, b: Tensor, direction: Tensor | None, spans: Spans) -> OuterReduction:
    """One row a sample at most, as when the loss reads one token: ``|b_i a_i^T| = |a_i| |b_i|``."""
    rows_a, rows_b = spans.gathered(a), spans.gathered(b)
    present = torch.tensor([length > 0 for length in spans.lengths], device=a.device)
    norm_sq = _scattered(row_norm_sq(rows_a) * row_norm_sq(rows_b), present)
    dots = None
    if direction is not None:
        dots = _scattered(row_dot(rows_a @ direction.mT.to(a.dtype), rows_b), present)
    return OuterReduction(rows_b.mT @ rows_a, norm_sq, dots)


def _reduce_by_kernel(
    kernels: Kernels, a: Tensor, b: Tensor, direction: Tensor | None, spans: Spans | None
) -> OuterReduction:
    if spans is None:
        spans = Spans((0,) * len(a), (a.shape[1],) * len(a), a.shape[1])
    return OuterReduction(*kernels.outer(a, b, direction, *spans.bounds))


def _scattered(values: Tensor, present: Tensor) -> Tensor:
    return values.new_zeros(len(present)).masked_scatter_(present, values)


def _reduce_tiles(a: Sequence[Tensor], b: Sequence[Tensor], direction: Tensor | None) -> OuterReduction:
    """Product form for a core with a cache: tile by tile of the weight, all samples over each tile.

    a, b: per sample ``(rows_i, in)`` and ``(rows_i, out)``.
    """
    inputs, outputs = a[0].shape[1], b[0].shape[1]
    height = max(1, min(outputs, _TILE_ELEMENTS // inputs))
    total = torch.zeros(outputs, inputs, dtype=a[0].dtype)
    squares: list[Tensor] = []
    dots: list[Tensor] = []
    columns = [rows.mT for rows in b]
    for top in range(0, outputs, height):
        tile = total[top : top + height]
        buffer = torch.empty_like(tile)
        flat, flat_direction = buffer.view(-1), None
        if direction is not None:
            flat_direction = direction[top : top + height].reshape(-1)
        for rows_a, column in zip(a, columns, strict=True):
            torch.mm(column[top : top + height], rows_a, out=buffer)
            squares.append(torch.dot(flat, flat))
            if flat_direction is not None:
                dots.append(torch.dot(flat, flat_direction))
            tile.add_(buffer)
    norm_sq = torch.stack(squares).view(-1, len(a)).sum(0)
    return OuterReduction(total, norm_sq, torch.stack(dots).view(-1, len(a)).sum(0) if dots else None)


def _reduce_chunks(a: Tensor, b: Tensor, direction: Tensor | None) -> OuterReduction:
    """Both forms by batched products, for accelerators and half precision; sums in float32 at least."""
    dtype = accumulator_dtype(a.dtype)
    batch, rows, size = len(a), a.shape[1], a.shape[2] * b.shape[2]
    wide = a.dtype == dtype  # the entries of a Gram matrix cancel: half precision is not enough for them
    if wide and direction is None and rows * rows * (a.shape[2] + b.shape[2]) < size * _TORCH_COSTS.element:
        norm_sq = row_dot(torch.bmm(a, a.mT), torch.bmm(b, b.mT))
        return OuterReduction(b.flatten(0, 1).mT @ a.flatten(0, 1), norm_sq, None)
    step = max(1, min(batch, _CHUNK_ELEMENTS // size))
    total = torch.zeros(size, dtype=dtype, device=a.device)
    norms_sq: list[Tensor] = []
    dots: list[Tensor] = []
    for first in range(0, batch, step):
        chunk = slice(first, first + step)
        products = torch.bmm(b[chunk].mT, a[chunk]).flatten(1).to(dtype)
        norms_sq.append(row_norm_sq(products))
        if direction is not None:
            dots.append(products @ direction.flatten().to(dtype))
        total += products.sum(0)
    total = total.view(b.shape[2], a.shape[2])
    return OuterReduction(total, torch.cat(norms_sq), torch.cat(dots) if dots else None)
