"""Products and look-ups whose input is the same for every sample: each sample has its own output gradient."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.gradients.forms import LookupGradient, OuterGradient, SampleGradient, VectorGradient
from models.gradients.precision import accumulator_dtype
from models.gradients.recorder import Recorder

Backward = tuple[Tensor | None, list[Tensor | None]]
"""Each sample's gradient at the input ``(batch, *values)``, and the parameters' own, summed over samples."""


def backward_of_shared_product(
    recorder: Recorder, module: nn.Module, values: Tensor, gradients: Tensor, *, transposed: bool
) -> Backward:
    """``y = x W^T + b`` of values ``(*rows, in)``; gradients ``(batch, *rows, out)``.

    Rows that no sample uses, such as distances longer than the batch's texts, cost nothing.
    """
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    dtype = gradients.dtype
    matrix = weight.detach().to(dtype)
    a = values.reshape(-1, values.shape[-1]).to(dtype)
    b = gradients.reshape(len(gradients), -1, gradients.shape[-1])
    used = b.ne(0).flatten(2).any(2).any(0).nonzero().squeeze(1)
    grad_values = b.new_zeros(len(b), *a.shape)
    if len(used) < len(a):
        a, b = a[used], b[:, used]
        grad_values[:, used] = b @ (matrix.T if transposed else matrix)
    else:
        torch.matmul(b, matrix.T if transposed else matrix, out=grad_values)
    totals: list[Tensor | None] = []
    wide = accumulator_dtype(dtype)
    if weight.requires_grad:
        summed = b.sum(0, dtype=wide)
        total = a.to(wide).T @ summed if transposed else summed.T @ a.to(wide)
        gradient = OuterGradient(a.expand(len(b), *a.shape), b, transposed)
        totals.append(_observed(recorder, weight, gradient, total))
    if isinstance(bias, Tensor) and bias.requires_grad:
        per_sample = b.sum(1, dtype=wide)
        totals.append(_observed(recorder, bias, VectorGradient(per_sample), per_sample.sum(0)))
    return grad_values.view(len(b), *values.shape), totals


def backward_of_shared_lookup(
    recorder: Recorder, module: nn.Embedding, ids: Tensor, gradients: Tensor
) -> Backward:
    """``y = table[ids]`` of ids of any shape; gradients ``(batch, *ids.shape, dim)``."""
    table, padding = cast("nn.Parameter", module.weight), module.padding_idx
    rows = gradients.reshape(len(gradients), -1, gradients.shape[-1])
    tokens = ids.flatten()
    gradient: SampleGradient
    if len(table) > len(tokens) or recorder.is_shared(table):
        gradient = LookupGradient(tokens.expand(len(rows), -1), rows, padding)
        total = torch.ops.aten.embedding_dense_backward(
            rows.sum(0), tokens, len(table), -1 if padding is None else padding, False
        )
    else:  # a small table: all that a sample does to it is smaller than the rows that do it
        per_sample = rows.new_zeros(len(rows), *table.shape, dtype=accumulator_dtype(rows.dtype))
        per_sample.index_add_(1, tokens, rows.to(per_sample.dtype))
        if padding is not None:
            per_sample[:, padding] = 0.0
        gradient, total = VectorGradient(per_sample), per_sample.sum(0)
    return None, [_observed(recorder, table, gradient, total)]


def _observed(recorder: Recorder, parameter: Tensor, gradient: SampleGradient, total: Tensor) -> Tensor:
    assert isinstance(parameter, nn.Parameter)
    total = total.to(parameter.dtype)
    recorder.observe(parameter, gradient)
    recorder.expect(parameter, total)
    return total
