"""A whole optimiser step as a training loop makes it, in every combination of what it may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gradients import GradientObserver
from models.gradients.twin import per_sample_gradients
from tests.models.gradients.checks import assert_close
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier

Weigh = Callable[[int], Tensor]
LENGTHS = [6, 3, 5, 8, 2]
MICRO_BATCHES = (slice(0, 2), slice(2, 5))

# What each sample's loss is multiplied by on its way into the step's loss.
WEIGHTS: dict[str, Weigh] = {
    "mean": lambda count: torch.full((count,), 1.0 / len(LENGTHS), dtype=torch.float64),
    "sum": lambda count: torch.ones(count, dtype=torch.float64),
    "sample weights": lambda count: torch.linspace(0.2, 3.0, count, dtype=torch.float64),
}
DROPOUT: dict[str, dict[str, Any]] = {
    "bert": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3},
    "gpt2": {"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3},
    "deberta-v2": {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3},
}


def micro_losses(model: nn.Module, family: str, part: slice) -> Callable[[], Tensor]:
    """The unreduced losses of one micro-batch, with the same dropout every time that they are computed."""
    batch, labels = padded_batch(LENGTHS, padding=CONFIGS[family].get("pad_token_id", 0))
    inputs = {name: values[part] for name, values in batch.items()}

    def losses() -> Tensor:
        torch.manual_seed(part.start + 1)
        return F.cross_entropy(model(**inputs).logits, labels[part], reduction="none")

    return losses


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("loss", WEIGHTS)
@pytest.mark.parametrize("family", DROPOUT)
def test_an_accumulated_step_with_dropout(family: str, loss: str, checkpointing: bool) -> None:
    model = tiny_classifier(family, torch.float64, **DROPOUT[family])
    expected = [per_sample_gradients(model, micro_losses(model, family, part))[1] for part in MICRO_BATCHES]
    weigh = WEIGHTS[loss]
    for part in MICRO_BATCHES:
        losses = micro_losses(model, family, part)()
        (losses * weigh(len(losses))).sum().backward()
    plain = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    norms = []
    with GradientObserver(model) as observer:
        for part in MICRO_BATCHES:
            losses = micro_losses(model, family, part)()
            weights = weigh(len(losses))
            (losses * weights).sum().backward()
            norms.append(observer.take(weights).norms)
    assert_close(torch.cat(norms), torch.cat(expected), 1e-10, "norms")
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert_close(found, plain, 1e-10, "grad")
