"""BERT, the commonest encoder: exact under everything that a training loop does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from models.gradients import GradientObserver, ObservationStateError
from tests.models.gradients.checks import TOLERANCE, assert_close, check_losses, classification_losses


def tiny_bert(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        num_labels=3,
    )
    return BertForSequenceClassification(config).to(dtype).train()


def padded_batch(lengths: list[int]) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    longest = max(lengths)
    ids = torch.randint(1, 12, (len(lengths), longest), generator=generator)  # few words: many repeated
    mask = (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).long()
    labels = torch.randint(0, 3, (len(lengths),), generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask}, labels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("lengths", [[7], [9, 3, 9, 5], [1, 1], [16, 2, 4, 6, 8]])
def test_norms_are_those_of_one_backward_per_sample(dtype: torch.dtype, lengths: list[int]) -> None:
    model = tiny_bert(dtype)
    batch, labels = padded_batch(lengths)
    weights = torch.linspace(0.3, 2.0, len(lengths), dtype=dtype)
    check_losses(model, classification_losses(model, batch, labels), weights, tolerance=TOLERANCE[dtype])


def test_a_sample_of_weight_zero_is_not_observed() -> None:
    model = tiny_bert()
    batch, labels = padded_batch([4, 6, 5])
    weights = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    check_losses(model, classification_losses(model, batch, labels), weights, tolerance=1e-10)


def test_accumulated_micro_batches_and_a_validation_between() -> None:
    model = tiny_bert().eval()
    batch, labels = padded_batch([8, 5, 3, 8])
    whole = classification_losses(model, batch, labels)
    expected = check_losses(model, whole, torch.ones(4, dtype=torch.float64), tolerance=1e-10).norms
    model.zero_grad()
    whole().mean().backward()
    plain = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    norms = []
    with GradientObserver(model) as observer:
        for half in (slice(0, 2), slice(2, 4)):
            part = {key: value[half] for key, value in batch.items()}
            losses = F.cross_entropy(model(**part).logits, labels[half], reduction="none")
            with torch.no_grad():
                model(**batch)
            (losses.sum() / 4).backward()
            norms.append(observer.take(0.25).norms)
    assert_close(torch.cat(norms), expected, 1e-10, "norms")
    accumulated = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    assert_close(torch.cat(accumulated), torch.cat([gradient.flatten() for gradient in plain]), 1e-10, "grad")


def test_the_model_is_as_before_afterwards_also_after_an_error() -> None:
    model = tiny_bert()
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(RuntimeError, match="must match"), GradientObserver(model):
        model(input_ids=torch.ones(1, 17, dtype=torch.long))  # one more than there are positions
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_take_without_a_backward_is_refused() -> None:
    model = tiny_bert()
    with GradientObserver(model) as observer, pytest.raises(ObservationStateError, match="nothing to take"):
        observer.take()
