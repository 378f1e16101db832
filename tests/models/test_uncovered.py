"""A model with parameters that no fast rule covers is scored all the same, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import XLNetConfig, XLNetForSequenceClassification

from models.batching import LabelledTexts, TokenizedTexts
from models.encoders import LoadedClassifier
from models.training import ScoringRun, TrainingConfig


def test_norms_of_xlnet_are_those_of_one_backward_per_sample() -> None:
    """It multiplies by raw parameters, and has the batch in the second dimension."""
    torch.manual_seed(0)
    config = XLNetConfig(
        vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=32, dropout=0.0, summary_last_dropout=0.0
    )
    model = XLNetForSequenceClassification(config)
    # Of one length: it reads the last token, padding or not, so its own output depends on batch mates.
    texts = [np.array([0, *range(first, first + 5), 2], dtype=np.int32) for first in (3, 7, 4)]
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
