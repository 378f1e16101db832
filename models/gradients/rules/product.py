"""Per-sample weight and bias gradients of ``y = x W^T + b``, for every layer that is such a product."""

from __future__ import annotations

from torch import Tensor, nn

from models.gradients.forms import OuterGradient, VectorGradient, accumulator_dtype
from models.gradients.outer import reduce_outer
from models.gradients.recorder import Recorder


def observe_weight(
    recorder: Recorder, weight: nn.Parameter, a: Tensor, b: Tensor, *, transposed: bool = False
) -> Tensor:
    """Record ``sum_t b_it a_it^T`` for every sample and return the batch's weight gradient.

    ``a`` ``(batch, rows, in)``: the layer's input; ``b`` ``(batch, rows, out)``: the gradient at its output;
    ``transposed``: the weight is stored ``(in, out)``.
    """
    if recorder.is_shared(weight):
        recorder.observe(weight, OuterGradient(a, b, transposed))
        left, right = (a, b) if transposed else (b, a)
        total = left.flatten(0, 1).mT @ right.flatten(0, 1)
    else:
        if transposed:
            a, b = b, a
        direction = recorder.direction(weight)
        reduction = reduce_outer(a, b, None if direction is None else direction.reshape(b.shape[2], -1))
        recorder.add(weight, reduction.norm_sq, reduction.dots)
        total = reduction.total
    total = total.to(weight.dtype).reshape(weight.shape)
    recorder.expect(weight, total)
    return total


def observe_bias(recorder: Recorder, bias: nn.Parameter, b: Tensor) -> Tensor:
    """``b`` ``(batch, rows, out)``: the per-sample bias gradient is its sum over rows."""
    per_sample = b.sum(1, dtype=accumulator_dtype(b.dtype))
    recorder.observe(bias, VectorGradient(per_sample))
    total = per_sample.sum(0).to(bias.dtype)
    recorder.expect(bias, total)
    return total
