"""What one micro-batch yields."""

from __future__ import annotations

from dataclasses import dataclass

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
