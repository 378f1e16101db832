"""Conv1d and Conv2d, as in patch embeddings: a matrix product with the unfolded input."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from models.gradients.forms import VectorGradient
from models.gradients.precision import accumulator_dtype
from models.gradients.recorder import Recorder
from models.gradients.rules.base import Rule, Site, autocast_dtype, first_argument, through
from models.gradients.rules.product import observe_bias, observe_weight

Convolution = nn.Conv1d | nn.Conv2d


class ConvolutionRule(Rule):
    """With ``a_it`` the input patch under output position t, ``G_i = sum_t b_it a_it^T`` as in a Linear."""

    name = "convolution"

    def covers(self, module: nn.Module) -> bool:
        return (
            type(module).forward in (nn.Conv1d.forward, nn.Conv2d.forward)
            and isinstance(module, Convolution)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        )

    def obstacle(self, site: Site, *args: Any, **kwargs: Any) -> str | None:
        values = first_argument(args, kwargs)
        if values.dim() != cast("Convolution", site.module).weight.dim():
            return f"it convolves a tensor without the batch dimension, {tuple(values.shape)}"
        return super().obstacle(site, *args, **kwargs)

    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        module = cast("Convolution", site.module)
        values = first_argument(args, kwargs)
        dtype = autocast_dtype(values)
        return through(_ObservedConvolution, values, module.weight, module.bias, module, site.recorder, dtype)


class _ObservedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        module: Convolution,
        recorder: Recorder,
        dtype: torch.dtype | None,
    ) -> Tensor:
        ctx.parameters, ctx.module, ctx.recorder = (weight, bias), module, recorder
        ctx.values_dtype = values.dtype
        dtype = values.dtype if dtype is None else dtype
        inputs, kernel = values.to(dtype), weight.detach().to(dtype)
        ctx.save_for_backward(inputs, kernel)
        convolve = F.conv1d if isinstance(module, nn.Conv1d) else F.conv2d
        offset = None if bias is None else bias.detach().to(dtype)
        settings: tuple[Any, ...] = (module.stride, module.padding, module.dilation, module.groups)
        return convolve(inputs, kernel, offset, *settings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, kernel = (tensor.detach() for tensor in ctx.saved_tensors)
        module, recorder = ctx.module, ctx.recorder
        weight, bias = ctx.parameters
        grad_values = grad_weight = grad_bias = None
        with torch.autocast(gradient.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_values = _grad_input(module, gradient, inputs, kernel).to(ctx.values_dtype)
            b = gradient.flatten(2).mT
            if ctx.needs_input_grad[1]:
                patches = _patches(module, inputs)
                if module.groups == 1:
                    grad_weight = observe_weight(recorder, weight, patches.mT, b)
                else:
                    grad_weight = _observe_grouped(recorder, weight, patches, gradient, module.groups)
            if ctx.needs_input_grad[2]:
                grad_bias = observe_bias(recorder, bias, b.sum(1, dtype=accumulator_dtype(b.dtype)))
        return grad_values, grad_weight, grad_bias, None, None, None


def _grad_input(module: Convolution, gradient: Tensor, inputs: Tensor, kernel: Tensor) -> Tensor:
    grad_input: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        inputs,
        kernel,
        None,
        module.stride,
        module.padding,
        module.dilation,
        False,
        [0] * len(module.stride),
        module.groups,
        [True, False, False],
    )[0]
    return grad_input


def _patches(module: Convolution, inputs: Tensor) -> Tensor:
    """The input under every output position: ``(batch, in * kernel, positions)``."""
    if isinstance(module, nn.Conv2d):
        return F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
    pads = cast("tuple[int]", module.padding)
    return F.unfold(
        inputs.unsqueeze(2),
        (1, *module.kernel_size),
        (1, *module.dilation),
        (0, *pads),
        (1, *module.stride),
    )


def _observe_grouped(
    recorder: Recorder, weight: nn.Parameter, patches: Tensor, gradient: Tensor, groups: int
) -> Tensor:
    """A grouped kernel sees its own group's channels only, and is small: formed for every sample."""
    a = patches.reshape(len(patches), groups, -1, patches.shape[-1])
    b = gradient.reshape(len(gradient), groups, -1, patches.shape[-1])
    per_sample = (b @ a.mT).reshape(-1, *weight.shape)
    recorder.observe(weight, VectorGradient(per_sample))
    total = per_sample.sum(0).to(weight.dtype)
    recorder.expect(weight, total)
    return total
