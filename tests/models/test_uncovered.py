"""A model with parameters that no fast rule covers is scored all the same, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MPNetConfig, MPNetForSequenceClassification

from models.batching import LabelledTexts, TokenizedTexts
from models.encoders import LoadedClassifier
from models.training import ScoringRun, TrainingConfig


def test_norms_of_mpnet_are_those_of_one_backward_per_sample() -> None:
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = MPNetForSequenceClassification(config)
    texts = [np.array([0, *range(5, 5 + length), 2], dtype=np.int32) for length in (3, 7, 4)]
    offsets = np.cumsum([0, *map(len, texts)])
    labels = np.array([0, 1, 1])
    data = LabelledTexts(TokenizedTexts(np.concatenate(texts), offsets), labels)
    plan = TrainingConfig(num_train_epochs=1, learning_rate=0.0, per_device_train_batch_size=3)
    run = ScoringRun(LoadedClassifier(model, None, "x"), data, None, plan, torch.device("cpu"))  # type: ignore[arg-type]
    (step,) = run.steps()
    assert "exact-fallback" in {parameter.rule for parameter in run.coverage}
    model.eval()
    for position, norm in zip(step.signals.positions, step.signals.grad_norm, strict=True):
        model.zero_grad()
        ids = torch.from_numpy(texts[position].astype(np.int64))[None]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([labels[position]])).backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        assert norm == pytest.approx(float(torch.cat(grads).double().norm()), rel=1e-4)
