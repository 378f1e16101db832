"""The slow twin: one backward per sample, obviously right, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def per_sample_gradients(
    model: nn.Module, losses_of: Callable[[], Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """Every sample's gradient by one backward each over the graph of a single forward.

    ``losses_of`` runs the forward and returns the unreduced losses ``(batch,)``. Returns the gradients
    ``{name: (batch, *shape)}`` of the trainable parameters, zero where a parameter is not used, and the norms
    ``(batch,)`` over all of them.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    losses = losses_of()
    for loss in losses:
        found = torch.autograd.grad(
            loss, list(parameters.values()), retain_graph=True, materialize_grads=True
        )
        for name, gradient in zip(parameters, found, strict=True):
            rows[name].append(gradient)
    gradients = {name: torch.stack(per_sample) for name, per_sample in rows.items()}
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
    return gradients, torch.stack(squares).sum(0).sqrt()
