"""The comparison that every rule must pass: the observer against one backward per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gradients import GradientObserver, PerSampleGradients
from models.gradients.twin import per_sample_gradients

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Relative to the largest expected value: a number near zero may be lost in the others' rounding."""
    scale = float(expected.abs().max()) or 1.0
    error = float((actual - expected).abs().max()) / scale
    assert error <= tolerance, f"{what}: relative error {error:.2e}"


def check_losses(
    model: nn.Module,
    losses_of: Callable[[], Tensor],
    weights: Tensor,
    *,
    tolerance: float,
    observer_options: dict[str, Any] | None = None,
) -> PerSampleGradients:
    """Norms, groups, dots and ``.grad`` of one observed step against the twin's."""
    gradients, norms = per_sample_gradients(model, losses_of)
    generator = torch.Generator().manual_seed(0)
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    model.zero_grad()
    plain_losses = losses_of()
    (plain_losses * weights).sum().backward()
    plain = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    with GradientObserver(model, **(observer_options or {})) as observer:
        observer.set_direction(direction)
        losses = losses_of()
        (losses * weights).sum().backward()
        result = observer.take(weights)

    assert_close(losses.detach(), plain_losses.detach(), tolerance, "losses")
    seen = weights != 0
    assert torch.equal(result.observed, seen)
    assert result.norms.isnan().equal(~seen)
    assert_close(result.norms[seen], norms[seen], tolerance, "norms")
    summed = torch.stack(list(result.norms_sq_by_group.values())).sum(0).sqrt()
    assert_close(summed[seen], norms[seen], tolerance, "groups")
    dots = torch.stack([gradients[name].flatten(1) @ direction[name].flatten() for name in direction]).sum(0)
    assert result.dots is not None
    scale = float(norms.max()) * sum(float(d.norm()) ** 2 for d in direction.values()) ** 0.5
    assert float((result.dots - dots)[seen].abs().max()) <= tolerance * scale, "dots"
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, parameter in model.named_parameters():
        if name in plain:
            assert parameter.grad is not None
            error = float((parameter.grad - plain[name]).abs().max())
            assert error <= tolerance * max(largest, 1e-30), f"{name}.grad"
    return result


def classification_losses(model: nn.Module, batch: dict[str, Tensor], labels: Tensor) -> Callable[[], Tensor]:
    """The unreduced losses of a classifier; the same dropout every time that they are computed."""

    def losses() -> Tensor:
        torch.manual_seed(7)
        return F.cross_entropy(model(**batch).logits, labels, reduction="none")

    return losses
