"""Every family of models, against one backward per sample."""

from __future__ import annotations

import pytest
import torch

from models.gradients.native import torch_alone
from tests.models.gradients.checks import check_losses, classification_losses
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier

# Their RMSNorm computes in float32 whatever the model's dtype, so the twin has no float64 either.
_FLOAT32_INSIDE = ("llama", "qwen2")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_ragged_batch(family: str, dtype: torch.dtype) -> None:
    model = tiny_classifier(family, dtype)
    padding = CONFIGS[family].get("pad_token_id", 0)
    batch, labels = padded_batch([9, 4, 7, 1, 9], padding=padding)
    weights = torch.tensor([1.0, 0.5, 2.0, 0.1, 3.0], dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6 if family in _FLOAT32_INSIDE else 1e-10
    losses = classification_losses(model, batch, labels)
    check_losses(model, losses, weights, tolerance=tolerance)
    if dtype == torch.float32:  # where there is a compiler, what came before went through the kernels
        with torch_alone():
            check_losses(model, losses, weights, tolerance=tolerance)


@pytest.mark.parametrize("lengths", [[4, 4, 3, 4], [2, 2], [1], [6], [1, 1, 1]])
@pytest.mark.parametrize("family", CONFIGS)
def test_as_many_samples_as_tokens_or_heads_and_one_alone(family: str, lengths: list[int]) -> None:
    model = tiny_classifier(family, torch.float32)
    padding = CONFIGS[family].get("pad_token_id", 0)
    batch, labels = padded_batch(lengths, padding=padding)
    losses = classification_losses(model, batch, labels)
    check_losses(model, losses, torch.ones(len(lengths)), tolerance=1e-4)
