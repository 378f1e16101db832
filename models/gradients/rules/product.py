"""Per-sample weight and bias gradients of ``y = x W^T + b``, for every layer that is such a product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.gradients.forms import OuterGradient, VectorGradient
from models.gradients.outer import reduce_outer
from models.gradients.recorder import Recorder
from models.gradients.rows import Spans


def grad_input(b: Tensor, matrix: Tensor, spans: Spans | None) -> Tensor:
    """``b @ matrix`` for ``b`` ``(batch, rows, out)`` and ``matrix`` ``(out, in)``, zero rows left out."""
    if spans is None:
        return b @ matrix
    result = b.new_zeros(*b.shape[:2], matrix.shape[1])
    if spans.are_few:
        result.view(-1, matrix.shape[1]).index_copy_(0, spans.flat_index, spans.gathered(b) @ matrix)
        return result
    for rows, target in zip(spans.segments(b), spans.segments(result), strict=True):
        torch.mm(rows, matrix, out=target)
    return result


def observe_weight(
    recorder: Recorder,
    weight: nn.Parameter,
    a: Tensor,
    b: Tensor,
    *,
    transposed: bool = False,
    spans: Spans | None = None,
) -> Tensor:
    """Record ``sum_t b_it a_it^T`` for every sample and return the batch's weight gradient.

    ``a`` ``(batch, rows, in)``: the layer's input; ``b`` ``(batch, rows, out)``: the gradient at its output;
    ``transposed``: the weight is stored ``(in, out)``; ``spans``: the rows of b that are not zero.
    """
    if recorder.is_shared(weight):
        recorder.observe(weight, OuterGradient(a, b, transposed))
        left, right = (a, b) if transposed else (b, a)
        total = left.flatten(0, 1).mT @ right.flatten(0, 1)
    else:
        recorder.add_projection(weight, OuterGradient(a, b, transposed))
        direction = recorder.direction(weight)
        if direction is not None:
            direction = direction.flatten(1)
        if transposed:  # the roles exchanged, so that the total has the weight's own layout
            reduction = reduce_outer(b, a, direction, spans=spans)
        else:
            reduction = reduce_outer(a, b, direction, spans=spans, grams=recorder.grams)
        recorder.add(weight, reduction.norm_sq, reduction.dots)
        total = reduction.total
    total = total.to(weight.dtype).reshape(weight.shape)
    recorder.expect(weight, total)
    return total


def observe_bias(recorder: Recorder, bias: nn.Parameter, per_sample: Tensor) -> Tensor:
    """``per_sample`` ``(batch, out)``: the bias gradient of a sample is the sum over its rows."""
    recorder.observe(bias, VectorGradient(per_sample))
    total = per_sample.sum(0).to(bias.dtype)
    recorder.expect(bias, total)
    return total
