"""Scales and shifts that a module multiplies or adds elementwise: RMSNorm in all its variants.

Found by structure: the Llama, Qwen, T5 and Gemma variants are classes of their own, which differ in when
they cast and whether the scale is ``w`` or ``1 + w``. The module's own code runs, with each parameter
``(d,)`` replaced by a view ``(batch, 1, ..., d)`` of it. Autograd then reduces its gradient to that shape,
which is the gradient of each sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.gradients.forms import VectorGradient
from models.gradients.precision import accumulator_dtype
from models.gradients.recorder import Recorder
from models.gradients.rules.base import Rule, Site, first_argument, through


class BroadcastRule(Rule):
    """Modules without children, all of whose parameters are vectors of one size, used elementwise.

    Whether the use is elementwise is tried out: the module must give the same output with its parameters
    expanded, and a sample's output must not depend on the others.
    """

    name = "elementwise"

    def covers(self, module: nn.Module) -> bool:
        parameters = dict(module.named_parameters())
        first, *others = parameters.values()
        composed = any(True for _ in (*module.children(), *module.buffers()))
        if composed or first.dim() != 1 or any(other.shape != first.shape for other in others):
            return False
        probe = torch.linspace(-1.0, 2.0, 6 * len(first)).reshape(2, 3, -1).to(first)
        try:
            with torch.no_grad():
                output = module(probe)
                alone = module(probe[:1])
                with _substituted(module, {name: p.expand(2, 1, -1) for name, p in parameters.items()}):
                    expanded = module(probe)
        except (RuntimeError, TypeError, ValueError, IndexError):  # it takes other inputs than one tensor
            return False
        same_shape = isinstance(output, Tensor) and output.shape == expanded.shape
        return same_shape and torch.allclose(output, expanded) and torch.allclose(output[:1], alone)

    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        values = first_argument(args, kwargs)
        expanded = {
            name: through(_ExpandToSamples, parameter, values.shape, site.recorder)
            for name, parameter in site.module.named_parameters()
        }
        with _substituted(site.module, expanded):
            output: Tensor = site.plain_forward(*args, **kwargs)
        return output


class RMSNormRule(Rule):
    """nn.RMSNorm, whose fused kernel takes no expanded scale: normalised there, scaled outside."""

    name = "rms-norm"

    def covers(self, module: nn.Module) -> bool:
        return type(module).forward is nn.RMSNorm.forward

    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        values, module = first_argument(args, kwargs), site.module
        assert isinstance(module, nn.RMSNorm)
        normalised = nn.functional.rms_norm(values, module.normalized_shape, None, module.eps)
        return normalised * through(_ExpandToSamples, module.weight, values.shape, site.recorder)


@contextmanager
def _substituted(module: nn.Module, values: dict[str, Tensor]) -> Iterator[None]:
    """The module with tensors in place of its parameters, as torch.func.functional_call does it."""
    slots: dict[str, Any] = module._parameters
    before = {name: slots[name] for name in values}
    slots.update(values)
    try:
        yield
    finally:
        slots.update(before)


class _ExpandToSamples(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: nn.Parameter, shape: torch.Size, recorder: Recorder) -> Tensor:
        ctx.parameter, ctx.recorder = parameter, recorder
        between = [1] * (len(shape) - 1 - parameter.dim())
        return parameter.detach().expand(shape[0], *between, *parameter.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parameter: nn.Parameter = ctx.parameter
        per_sample = gradient.reshape(-1, *parameter.shape).to(accumulator_dtype(gradient.dtype))
        ctx.recorder.observe(parameter, VectorGradient(per_sample))
        total = per_sample.sum(0).to(parameter.dtype)
        ctx.recorder.expect(parameter, total)
        return total, None, None
