"""Where batch-free values begin, and how each sample's gradient gets back there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(eq=False, slots=True)
class Source:
    """A parameter, or the output of a module applied to it, before the model joins it with the batch."""

    parameters: tuple[nn.Parameter, ...]
    delivered: Tensor | None = None

    def deliver(self, per_sample: Tensor) -> None:
        """``(batch, *shape)``: what came through one join."""
        self.delivered = per_sample if self.delivered is None else self.delivered + per_sample

    def take(self, total: Tensor) -> Tensor | None:
        """Each sample's gradient, ``(batch, *shape)``, if it adds up to the ``total`` that autograd brings.

        None if it does not: then some use went by unseen.
        """
        found, self.delivered = self.delivered, None
        if found is None:
            return None
        rounding = torch.finfo(total.dtype).eps ** 0.5
        missing = torch.linalg.vector_norm(found.sum(0) - total)
        settled = (
            missing <= rounding * torch.linalg.vector_norm(found, dim=tuple(range(1, found.dim()))).sum()
        )
        return found if bool(settled) or not bool(missing.isfinite()) else None


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """A source and its tensor; apart, because the source is kept by the node that made the tensor."""

    source: Source
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Edge:
    """A batch-free value inside autograd's graph, and the sources that it was computed from."""

    values: Tensor
    origins: Sequence[Origin]

    def deliver(self, per_sample: Tensor) -> None:
        """Carry each sample's gradient at the values, ``(batch, *shape)``, back to the sources.

        The graph between is run for all samples at once and kept for the ordinary backward that follows.
        """
        if not self.origins:
            return
        found = torch.autograd.grad(
            self.values,
            [origin.tensor for origin in self.origins],
            per_sample,
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=True,
        )
        for origin, gradient in zip(self.origins, found, strict=True):
            if gradient is not None:
                origin.source.deliver(gradient)


class Fan(torch.autograd.Function):
    """A batch-free value ``(*shape)`` as ``(batch, *shape)``, so that its gradient comes per sample."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, batch: int, edge: Edge) -> Tensor:
        ctx.edge = edge
        return values.detach().expand(batch, *values.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        edge: Edge = ctx.edge
        edge.deliver(gradient)
        return gradient.sum(0), None, None
