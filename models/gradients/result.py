"""What one micro-batch yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PerSampleGradients:
    """Quantities of ``g_i``, the gradient of sample i's own loss; every tensor is ``(batch,)``.

    The weights with which the losses entered the scalar are undone. A sample of weight zero leaves no trace
    in the backward pass: ``observed`` is False there and its numbers are NaN, never a made-up zero.

    norms: ``|g_i|_2`` over all trainable parameters.
    norms_sq_by_group: ``|g_i|^2`` restricted to the parameters of a group; the groups sum to ``norms ** 2``.
    dots: ``<g_i, direction>``, or None when no direction was set.
    projections: ``(batch, dim)`` random projections of ``g_i``, or None when no projection was set.
    """

    norms: Tensor
    norms_sq_by_group: dict[str, Tensor]
    observed: Tensor
    dots: Tensor | None = None
    projections: Tensor | None = None


def unweighted(
    norms_sq: Mapping[str, list[Tensor]],
    dots: list[Tensor],
    weights: Tensor | float,
    projections: Tensor | None = None,
) -> PerSampleGradients:
    """Sum what the backward pass of weighted losses left, and divide the weights out of it.

    ``norms_sq``: by group, ``weights_i^2 |g_i|^2`` of each parameter; ``dots``: ``weights_i <g_i, d>``;
    ``projections`` ``(batch, dim)``: of ``weights_i g_i``.
    """
    some = next(iter(norms_sq.values()))[0]
    scale = torch.as_tensor(weights, dtype=torch.float64, device=some.device).detach().expand(len(some))
    scale = scale.masked_fill(scale == 0, torch.nan)
    by_group = {name: torch.stack(parts).double().sum(0) / scale**2 for name, parts in norms_sq.items()}
    total = torch.stack(list(by_group.values())).sum(0)
    return PerSampleGradients(
        norms=total.sqrt().to(some.dtype),
        norms_sq_by_group={name: group.to(some.dtype) for name, group in by_group.items()},
        observed=~scale.isnan(),
        dots=(torch.stack(dots).double().sum(0) / scale).to(some.dtype) if dots else None,
        projections=None if projections is None else (projections / scale.unsqueeze(1)).to(some.dtype),
    )
