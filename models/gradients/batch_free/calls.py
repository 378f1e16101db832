"""Modules and parameters in the batch-free part of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.gradients.batch_free.sources import Edge, Origin, Source
from models.gradients.batch_free.tensors import BatchFreeTensor
from models.gradients.forms import VectorGradient

if TYPE_CHECKING:
    from models.gradients.recorder import Recorder
    from models.gradients.rules.base import Site

_UNSEEN = "some of its gradient comes by a way that has no rule"


def apply_batch_free(site: Site, values: Tensor) -> BatchFreeTensor:
    """The module applied to values without a batch dimension: ids, or what other modules made of a table."""
    edge = values.edge() if isinstance(values, BatchFreeTensor) else Edge(values, ())
    source = Source(site.parameters)
    apply = cast("Callable[..., Tensor]", _BatchFreeCall.apply)
    output = apply(_Call(site, source, edge), edge.values, *site.parameters)
    return BatchFreeTensor.mark(output, [Origin(source, output)], site.recorder.operations)


def raw_parameter(parameter: nn.Parameter, recorder: Recorder) -> BatchFreeTensor:
    """A parameter that the model's own code uses, not the forward of a module with a rule."""
    source = Source((parameter,))
    output = cast("Callable[..., Tensor]", _RawParameter.apply)(parameter, source, recorder)
    return BatchFreeTensor.mark(output, [Origin(source, output)], recorder.operations)


@dataclass(frozen=True, slots=True)
class _Call:
    site: Site
    source: Source
    edge: Edge


class _BatchFreeCall(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, values: Tensor, *_: nn.Parameter) -> Tensor:
        ctx.call = call
        ctx.save_for_backward(values)
        output: Tensor = call.site.plain_forward(values)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (values,) = ctx.saved_tensors
        call: _Call = ctx.call
        site = call.site
        per_sample = call.source.take(gradient)
        with torch.autocast(gradient.device.type, enabled=False):
            if per_sample is None:
                site.recorder.give_up(site.parameters, _UNSEEN)
                return None, *_plain_gradients(site, values, gradient)
            grad_values, totals = site.rule.backward_batch_free(site, values.detach(), per_sample)
        if grad_values is None or not ctx.needs_input_grad[1]:
            return None, None, *totals
        grad_values = grad_values.to(values.dtype)
        call.edge.deliver(grad_values)
        return None, grad_values.sum(0), *totals


def _plain_gradients(site: Site, values: Tensor, gradient: Tensor) -> list[Tensor | None]:
    """As autograd has them without us: of the values and of the site's parameters."""
    with torch.enable_grad(), site.recorder.paused():
        inputs = values.detach().requires_grad_(values.is_floating_point())
        output = site.plain_forward(inputs)
        wanted = [inputs, *site.parameters] if inputs.requires_grad else list(site.parameters)
        found: list[Tensor | None] = list(
            torch.autograd.grad(output, wanted, gradient.to(output.dtype), allow_unused=True)
        )
    return found if inputs.requires_grad else [None, *found]


class _RawParameter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameter: nn.Parameter, source: Source, recorder: Recorder) -> Tensor:
        ctx.parameter, ctx.source, ctx.recorder = parameter, source, recorder
        return parameter.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parameter: nn.Parameter = ctx.parameter
        recorder: Recorder = ctx.recorder
        per_sample = ctx.source.take(gradient)
        if per_sample is None:
            recorder.give_up((parameter,), _UNSEEN)
            return gradient, None, None
        recorder.observe(parameter, VectorGradient(per_sample))
        recorder.expect(parameter, gradient)
        return gradient, None, None
