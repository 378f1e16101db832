"""``y = x W^T + b``: nn.Linear, and Conv1D of GPT-2, which stores W transposed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from models.gradients.recorder import Recorder
from models.gradients.rules.base import Rule, Site, autocast_dtype, first_argument, through
from models.gradients.rules.product import grad_input, observe_bias, observe_weight
from models.gradients.rules.shared_rows import Backward, backward_of_shared_product


class LinearRule(Rule):
    """Weight ``G_i = sum_t b_it x_it^T`` and bias ``sum_t b_it``, b the gradient at the output."""

    name = "linear"

    def covers(self, module: nn.Module) -> bool:
        forward = type(module).forward
        return forward is nn.Linear.forward or forward is Conv1D.forward

    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        values = first_argument(args, kwargs)
        module = site.module
        transposed = isinstance(module, Conv1D)
        return through(
            _ObservedLinear,
            values,
            module.weight,
            module.bias,
            transposed,
            site.recorder,
            autocast_dtype(values),
        )

    def backward_batch_free(self, site: Site, values: Tensor, gradients: Tensor) -> Backward:
        transposed = isinstance(site.module, Conv1D)
        return backward_of_shared_product(
            site.recorder, site.module, values, gradients, transposed=transposed
        )


class _ObservedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        transposed: bool,
        recorder: Recorder,
        dtype: torch.dtype | None,
    ) -> Tensor:
        ctx.parameters = (weight, bias)
        ctx.transposed, ctx.recorder = transposed, recorder
        inputs, matrix, offset = values, weight.detach(), None if bias is None else bias.detach()
        ctx.values_dtype = values.dtype
        if dtype is not None:
            inputs, matrix = values.to(dtype), matrix.to(dtype)
            offset = None if offset is None else offset.to(dtype)
        ctx.save_for_backward(inputs, matrix)
        return functional.linear(inputs, matrix.mT if transposed else matrix, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, matrix = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            grad_values = grad_weight = grad_bias = None
            weight, bias = ctx.parameters
            rows = gradient.reshape(len(gradient), -1, gradient.shape[-1])
            look = ctx.recorder.scout.look(rows)
            if ctx.needs_input_grad[0]:
                grad_rows = grad_input(rows, matrix.mT if ctx.transposed else matrix, look.spans)
                grad_values = grad_rows.view(inputs.shape).to(ctx.values_dtype)
            if ctx.needs_input_grad[1]:
                # Detached: what is kept until the pass ends must not keep the graph alive.
                a = inputs.detach().reshape(len(inputs), -1, inputs.shape[-1])
                grad_weight = observe_weight(
                    ctx.recorder, weight, a, rows, transposed=ctx.transposed, spans=look.spans
                )
            if ctx.needs_input_grad[2]:
                grad_bias = observe_bias(ctx.recorder, bias, look.sums)
        return grad_values, grad_weight, grad_bias, None, None, None
