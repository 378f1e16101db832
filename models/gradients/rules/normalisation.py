"""``y = x_hat * gamma + beta``: LayerNorm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.gradients.forms import VectorGradient
from models.gradients.native import kernels_for
from models.gradients.precision import accumulator_dtype
from models.gradients.recorder import Recorder
from models.gradients.rows import Spans
from models.gradients.rules.base import Rule, Site, autocast_dtype, first_argument, through

_LONG_SAMPLE = 1 << 14  # numbers, from which one kernel call a sample is cheaper


class LayerNormRule(Rule):
    """Scale ``sum_t b_it * x_hat_it`` and shift ``sum_t b_it``, over the positions of sample i."""

    name = "layer-norm"

    def covers(self, module: nn.Module) -> bool:
        return type(module).forward is nn.LayerNorm.forward

    def obstacle(self, site: Site, *args: Any, **kwargs: Any) -> str | None:
        values = first_argument(args, kwargs)
        if values.dim() <= len(_layer_norm(site).normalized_shape):
            return f"it normalises a tensor without the batch dimension, {tuple(values.shape)}"
        return super().obstacle(site, *args, **kwargs)

    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        values = first_argument(args, kwargs)
        module = _layer_norm(site)
        if autocast_dtype(values) is not None and values.is_cuda:
            values = values.float()  # autocast's own choice for layer_norm on CUDA
        return through(
            _ObservedLayerNorm,
            values,
            module.weight,
            module.bias,
            tuple(module.normalized_shape),
            module.eps,
            site.recorder,
        )


def _layer_norm(site: Site) -> nn.LayerNorm:
    return cast("nn.LayerNorm", site.module)


class _ObservedLayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        shape: tuple[int, ...],
        eps: float,
        recorder: Recorder,
    ) -> Tensor:
        output, mean, rstd = torch.native_layer_norm(values, shape, weight, bias, eps)
        ctx.save_for_backward(values, mean, rstd, weight, bias)
        ctx.parameters, ctx.shape, ctx.recorder = (weight, bias), shape, recorder
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, mean, rstd, weight, bias = ctx.saved_tensors
        kernels = kernels_for(gradient, values, *(() if weight is None else (weight,)))
        if kernels is not None and len(ctx.shape) == 1:
            needed = ctx.needs_input_grad
            grad_values, scales, shifts = kernels.layer_norm(gradient, values, mean, rstd, weight, needed)
            return grad_values, _observe(ctx, 0, scales), _observe(ctx, 1, shifts), None, None, None
        saved = _Saved(values, mean, rstd, weight, bias, ctx.shape)
        spans = None
        if gradient.dim() == 3 and len(ctx.shape) == 1:
            spans = ctx.recorder.scout.spans(gradient)
        if spans is not None and spans.are_few:
            return *_backward_of_few(ctx, gradient, saved, spans), None, None, None
        grad_values = saved.backward(gradient, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        scales, shifts = _per_sample(gradient, saved, ctx.needs_input_grad)
        return grad_values, _observe(ctx, 0, scales), _observe(ctx, 1, shifts), None, None, None


@dataclass(frozen=True, slots=True)
class _Saved:
    """What the forward kept; ``shape`` is that of the normalised dimensions."""

    values: Tensor
    mean: Tensor
    rstd: Tensor
    weight: Tensor
    bias: Tensor | None
    shape: tuple[int, ...]

    def backward(self, gradient: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of values, weight and bias, summed over all rows, by the kernel of the plain step."""
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_layer_norm_backward(
            gradient, self.values, self.shape, self.mean, self.rstd, self.weight, self.bias, wanted
        )
        return found

    def samples(self) -> list[_Saved]:
        pieces = zip(self.values.unbind(0), self.mean.unbind(0), self.rstd.unbind(0), strict=True)
        return [_Saved(*piece, self.weight, self.bias, self.shape) for piece in pieces]

    def scaled(self, gradient: Tensor) -> Tensor:
        """``b * x_hat`` of every row, float32 at least."""
        dtype = accumulator_dtype(gradient.dtype)
        return (self.values.to(dtype) - self.mean).mul_(self.rstd).mul_(gradient)


def _per_sample(
    gradient: Tensor, saved: _Saved, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift gradients ``(batch, *shape)``.

    Long samples one by one in the kernel that sums a batch's: it reads each row once and keeps nothing.
    Short ones, whose calls would cost more than their work, all at once by writing ``b * x_hat`` out.
    """
    if not (needed[1] or needed[2]):
        return None, None
    if gradient.is_cuda or gradient[0].numel() < _LONG_SAMPLE:
        between = tuple(range(1, gradient.dim() - len(saved.shape)))
        scales = saved.scaled(gradient) if needed[1] else None
        if not between:
            return scales, gradient if needed[2] else None
        shifts = gradient.sum(between, dtype=accumulator_dtype(gradient.dtype)) if needed[2] else None
        return None if scales is None else scales.sum(between), shifts
    wanted = [False, needed[1], needed[2]]
    pairs = zip(gradient.unbind(0), saved.samples(), strict=True)
    found = [sample.backward(rows, wanted) for rows, sample in pairs]
    scales = torch.stack([scale for _, scale, _ in found]) if needed[1] else None
    return scales, torch.stack([shift for _, _, shift in found]) if needed[2] else None


def _backward_of_few(
    ctx: Any, gradient: Tensor, saved: _Saved, spans: Spans
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    rows = spans.gathered(gradient)
    few = _Saved(
        spans.gathered(saved.values),
        spans.gathered(saved.mean),
        spans.gathered(saved.rstd),
        saved.weight,
        saved.bias,
        saved.shape,
    )
    grad_values = None
    if ctx.needs_input_grad[0]:
        grad_values = torch.zeros_like(saved.values)
        found = few.backward(rows, [True, False, False])[0]
        grad_values.view(-1, *saved.shape).index_copy_(0, spans.flat_index, found)
    scales = spans.summed(few.scaled(rows)) if ctx.needs_input_grad[1] else None
    shifts = spans.summed(rows) if ctx.needs_input_grad[2] else None
    return grad_values, _observe(ctx, 0, scales), _observe(ctx, 1, shifts)


def _observe(ctx: Any, which: int, per_sample: Tensor | None) -> Tensor | None:
    if per_sample is None:
        return None
    parameter: nn.Parameter = ctx.parameters[which]
    ctx.recorder.observe(parameter, VectorGradient(per_sample))
    total = per_sample.sum(0).to(parameter.dtype)
    ctx.recorder.expect(parameter, total)
    return total
