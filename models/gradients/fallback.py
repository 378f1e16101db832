"""The slow exact path for parameters that no rule can see: one extra backward per sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from models.gradients.forms import SampleGradient, VectorGradient
from models.gradients.precision import accumulator_dtype

Project = Callable[[nn.Parameter, SampleGradient], Tensor]


@dataclass(slots=True)
class _Pass:
    """One forward of the whole model: enough to repeat it, and the gradients at its outputs."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    cpu_random: Tensor
    cuda_random: list[Tensor]
    autocast: dict[str, torch.dtype]
    gradients: dict[int, Tensor] = field(default_factory=dict)


class ExactFallback:
    """Repeats the observed forward with its random state, then goes back from each sample's outputs alone.

    ``g_i`` is the sum over the model's outputs o of ``(do_i / dtheta)^T (dl / do_i)``. The gradient at the
    outputs comes from the ordinary backward, so the loss need not be known. Costs one more forward, and a
    backward per sample; memory as the plain step's.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._passes: list[_Pass] = []

    def clear(self) -> None:
        self._passes.clear()

    def before_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        devices = [d for d in ("cpu", "cuda") if torch.is_autocast_enabled(d)]
        cuda_random = torch.cuda.get_rng_state_all() if _on_cuda(self._model) else []
        autocast = {device: torch.get_autocast_dtype(device) for device in devices}
        self._passes.append(_Pass(args, kwargs, torch.get_rng_state(), cuda_random, autocast))

    def after_forward(self, output: Any) -> Any:
        """The output, each tensor as an alias of itself.

        The gradient at an alias is what the loss takes from that output directly: a hidden state that is
        returned beside the logits would otherwise also show what came through the logits.
        """
        gradients = self._passes[-1].gradients
        return _mapped(output, lambda tensor, position: _aliased(tensor, gradients, position))

    def gradients(
        self,
        parameters: Sequence[nn.Parameter],
        directions: Mapping[int, Tensor] | None,
        project: Project | None,
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor | None]:
        """Squared norms, and inner products with the directions, by parameter id: ``(batch,)`` each.

        And the projections ``(batch, dim)``, summed over these parameters, where there is a ``project``.
        """
        squares: dict[int, list[Tensor]] = {id(p): [] for p in parameters}
        dots: dict[int, list[Tensor]] = {id(p): [] for p in parameters} if directions is not None else {}
        sketches: list[Tensor] = []
        for gradients in self._by_sample(parameters):
            parts: list[Tensor] = []
            for parameter, gradient in zip(parameters, gradients, strict=True):
                wide = gradient.to(accumulator_dtype(gradient.dtype))
                squares[id(parameter)].append(wide.square().sum())
                if directions is not None:
                    dots[id(parameter)].append((wide * directions[id(parameter)]).sum())
                if project is not None:
                    parts.append(project(parameter, VectorGradient(wide.unsqueeze(0))))
            if parts:
                sketches.append(torch.stack(parts).sum(0))
        stacked = {key: torch.stack(values) for key, values in squares.items()}
        sketched = torch.cat(sketches) if sketches else None
        return stacked, {key: torch.stack(values) for key, values in dots.items()}, sketched

    def _by_sample(self, parameters: Sequence[nn.Parameter]) -> Iterator[tuple[Tensor, ...]]:
        outputs: list[Tensor] = []
        cotangents: list[Tensor] = []
        with torch.enable_grad():
            for one in self._passes:
                repeated = self._repeat(one)
                outputs += [repeated[position] for position in one.gradients]
                cotangents += one.gradients.values()
        for sample in range(len(cotangents[0])):
            alone = [_only(cotangent, sample) for cotangent in cotangents]
            yield torch.autograd.grad(outputs, parameters, alone, retain_graph=True, materialize_grads=True)

    def _repeat(self, one: _Pass) -> dict[int, Tensor]:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(range(len(one.cuda_random))))
            torch.set_rng_state(one.cpu_random)
            if one.cuda_random:
                torch.cuda.set_rng_state_all(one.cuda_random)
            for device, dtype in one.autocast.items():
                stack.enter_context(torch.autocast(device, dtype=dtype))
            outputs: dict[int, Tensor] = {}
            output = self._model(*one.args, **one.kwargs)
            _mapped(output, lambda tensor, position: outputs.setdefault(position, tensor))
            return outputs


def _on_cuda(model: nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in model.parameters())


def _mapped(output: Any, change: Callable[[Tensor, int], Tensor]) -> Any:
    """A model's output with every differentiable tensor changed; they are numbered in order."""
    numbers = count()

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value, next(numbers)) if value.requires_grad else value
        if isinstance(value, MutableMapping):
            for key in list(value):
                value[key] = walk(value[key])
            return value
        if type(value) in (list, tuple):
            return type(value)(walk(item) for item in value)
        return value

    return walk(output)


def _aliased(tensor: Tensor, gradients: dict[int, Tensor], position: int) -> Tensor:
    alias = tensor.view_as(tensor)
    alias.register_hook(lambda gradient: gradients.__setitem__(position, gradient))
    return alias


def _only(gradient: Tensor, sample: int) -> Tensor:
    alone = torch.zeros_like(gradient)
    alone[sample] = gradient[sample]
    return alone
