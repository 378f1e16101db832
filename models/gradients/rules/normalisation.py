"""``y = x_hat * gamma + beta``: LayerNorm."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.gradients.forms import VectorGradient, accumulator_dtype
from models.gradients.recorder import Recorder
from models.gradients.rules.base import Rule, Site, autocast_dtype, first_argument, through


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
        grad_values = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_values = torch.ops.aten.native_layer_norm_backward(
                gradient, values, ctx.shape, mean, rstd, weight, bias, [True, False, False]
            )[0]
        if ctx.needs_input_grad[1]:
            dtype = accumulator_dtype(gradient.dtype)
            normalised = (values.to(dtype) - mean) * rstd
            grad_weight = _observe_vector(ctx, 0, gradient * normalised)
        if ctx.needs_input_grad[2]:
            grad_bias = _observe_vector(ctx, 1, gradient)
        return grad_values, grad_weight, grad_bias, None, None, None


def _observe_vector(ctx: Any, which: int, contributions: Tensor) -> Tensor:
    """``contributions`` ``(batch, ..., *shape)`` summed over the positions between."""
    parameter = ctx.parameters[which]
    positions = contributions.reshape(len(contributions), -1, *ctx.shape)
    per_sample = positions.sum(1, dtype=accumulator_dtype(contributions.dtype))
    ctx.recorder.observe(parameter, VectorGradient(per_sample))
    total = per_sample.sum(0).to(parameter.dtype)
    ctx.recorder.expect(parameter, total)
    return total
