"""Mixed precision, against one backward per sample under the very same autocast.

What may differ: autograd rounds every entry of a weight's gradient to half precision, once, after summing it
in float32; the observer never rounds it. Rounding is off by at most eps / 2 of the entry, and so by at most
that of a sample's norm. The gradients that layers hand down to each other are half precision on both sides,
and the same but for the order of float32 sums, which now and then turns a last bit. Together less than eps:
0.8 % for bfloat16, 0.1 % for float16.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.gradients import GradientObserver
from models.gradients.twin import per_sample_gradients
from tests.models.gradients.checks import assert_close, classification_losses
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier

SCALE = {torch.bfloat16: 1.0, torch.float16: 2.0**8}
"""Lifts float16 gradients above underflow, for both sides alike."""
HALVES = (torch.bfloat16, torch.float16)


def autocast_losses(
    model: nn.Module, family: str, lengths: list[int], dtype: torch.dtype
) -> Callable[[], Tensor]:
    plain = classification_losses(model, *padded_batch(lengths, padding=_padding(family)))

    def losses() -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            return plain()

    return losses


def _padding(family: str) -> int:
    return int(CONFIGS[family].get("pad_token_id", 0))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", CONFIGS)
def test_norms_are_those_of_the_same_autocast(family: str, dtype: torch.dtype) -> None:
    model = tiny_classifier(family, torch.float32)
    losses = autocast_losses(model, family, [6, 3, 5, 6], dtype)
    scale, eps = SCALE[dtype], torch.finfo(dtype).eps
    _, scaled = per_sample_gradients(model, lambda: losses() * scale)
    model.zero_grad()
    (losses() * scale).sum().backward()
    plain = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    with GradientObserver(model) as observer:
        (losses() * scale).sum().backward()
        norms = observer.take(scale).norms
    assert norms.dtype == torch.float32
    relative = (norms * scale / scaled - 1).abs()
    assert float(relative.max()) <= eps, relative
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert float((found - plain).norm()) <= eps * float(plain.norm())


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2", "qwen2"])
def test_an_overflow_shows_in_its_own_sample_alone(family: str) -> None:
    """As a loss scale that is too large: float16 gradients beyond 65504."""
    model = tiny_classifier(family, torch.float32)
    losses = autocast_losses(model, family, [6, 3, 5, 6], torch.float16)
    weights = torch.tensor([2.0**12, 2.0**12, 2.0**30, 2.0**12])
    _, alone = per_sample_gradients(model, lambda: losses() * weights)
    assert alone.isfinite().tolist() == [True, True, False, True]
    with GradientObserver(model) as observer:
        (losses() * weights).sum().backward()
        norms = observer.take(weights).norms
    assert norms.isfinite().tolist() == [True, True, False, True]
    others = torch.tensor([0, 1, 3])
    eps = torch.finfo(torch.float16).eps
    assert_close(norms[others], (alone / weights)[others], eps, "the others")
