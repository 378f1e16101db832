"""A rule: how the modules of one type show their per-sample gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.gradients.batch_free import BatchFreeTensor, apply_batch_free
from models.gradients.eager import eager
from models.gradients.recorder import Recorder

Forward = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One covered module of the observed model."""

    module: nn.Module
    rule: Rule
    recorder: Recorder
    plain_forward: Forward
    parameters: tuple[nn.Parameter, ...]

    @eager
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Stand in for the module's own forward while the observer is installed."""
        recorder = self.recorder
        values = first_argument(args, kwargs)
        if recorder.trial is not None:
            return recorder.trial.run(self, args, kwargs)
        if not recorder.observing or recorder.has_given_up(self.parameters):
            return self.plain_forward(*args, **kwargs)
        recorder.count_call(self.parameters)
        batch_free = recorder.next_is_batch_free(self)
        if not torch.is_grad_enabled():  # the first, recordless forward of a reentrant checkpoint
            return self.plain_forward(*args, **kwargs)
        if batch_free or isinstance(values, BatchFreeTensor):
            return apply_batch_free(self, values)
        obstacle = self.rule.obstacle(self, *args, **kwargs)
        if obstacle is not None:
            recorder.give_up(self.parameters, obstacle)
            return self.plain_forward(*args, **kwargs)
        return self.rule.forward(self, *args, **kwargs)


class Rule(ABC):
    """Covers every parameter of a module type; registered in ``models.gradients.rules``.

    ``forward`` computes what the module's own forward computes, through an autograd function whose backward
    also writes per-sample quantities to ``site.recorder``.
    """

    name: str

    @abstractmethod
    def covers(self, module: nn.Module) -> bool:
        """Whether this rule is exact for this module as it is configured."""

    def follows_batch(self, length: int, batch: int) -> bool:
        """Whether an input with this first dimension belongs to a batch of this size."""
        return length == batch

    def obstacle(self, site: Site, *args: Any, **kwargs: Any) -> str | None:
        """Why this call's input cannot be split into samples, or None."""
        values = first_argument(args, kwargs)
        if values.dim() > 0 and len(values) == site.recorder.batch_of(values):
            return None
        return f"it is applied to a tensor without the batch dimension, {tuple(values.shape)}"

    @abstractmethod
    def forward(self, site: Site, *args: Any, **kwargs: Any) -> Tensor:
        """The module's output, observed."""

    def backward_batch_free(
        self, site: Site, values: Tensor, gradients: Tensor
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """The backward of a module that was applied to ``values`` without a batch, for every sample.

        ``gradients`` ``(batch, *output)``. Records the parameters' per-sample gradients, and returns those of
        the values, ``(batch, *values)``, and the parameters' sums. Here by the rule's own backward, on the
        values expanded to the batch.
        """
        leading = values.dim() > 1 and len(values) == 1
        inputs = values.expand(len(gradients), *values.shape[1 if leading else 0 :])
        with torch.enable_grad(), site.recorder.paused():
            inputs = inputs.detach().requires_grad_()
            output = self.forward(site, inputs)
            wanted = (inputs, *site.parameters)
            cotangents = gradients.reshape(output.shape).to(output.dtype)
            grad_inputs, *totals = torch.autograd.grad(output, wanted, cotangents)
        return grad_inputs.reshape(len(gradients), *values.shape), list(totals)


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The tensor that a layer is applied to, however it is passed."""
    values: Tensor = args[0] if args else next(iter(kwargs.values()))
    return values


def through(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    """``function.apply(*args)``, typed."""
    return cast("Callable[..., Tensor]", function.apply)(*args)


def autocast_dtype(values: Tensor) -> torch.dtype | None:
    """The dtype that autocast gives matrix products on this device now, or None."""
    device = values.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
