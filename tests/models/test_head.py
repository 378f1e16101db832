"""The last layer's view of a sample is enough for the gradient of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from app.services.influence import LastLayer
from models.batching import LabelledTexts, tokenize
from models.encoders import load_classifier
from models.encoders.adapters import LoraSettings, add_lora
from models.training import ScoringRun, TrainingConfig
from tests.models.tiny import build_tiny_bert, build_tiny_gpt2

TEXTS = ["this dress is lovely", "not good", "the shoe is too small and very cheap", "soft coat"]
LABELS = np.array([1, 0, 0, 2])
BUILDERS = {"bert": build_tiny_bert, "gpt2": build_tiny_gpt2}


@pytest.mark.parametrize("family", ["bert", "gpt2", "lora"])
def test_last_layer_gradients_come_from_what_it_read(family: str, tmp_path: Path) -> None:
    folder = BUILDERS[family.replace("lora", "bert")](tmp_path / family)
    classifier = load_classifier(str(folder), num_labels=3, seed=0)
    if family == "lora":
        add_lora(
            classifier.model, LoraSettings(r=2, lora_alpha=4, lora_dropout=0, target_modules=None), seed=0
        )
    tokens = tokenize(classifier.tokenizer, TEXTS, None, 16)
    config = TrainingConfig(num_train_epochs=2, per_device_train_batch_size=2, learning_rate=1e-2)
    run = ScoringRun(classifier, LabelledTexts(tokens, LABELS), None, config, torch.device("cpu"))
    seen = [result.signals for result in run.steps()][-2:]
    assert sorted(np.concatenate([one.positions for one in seen])) == [0, 1, 2, 3]
    assert all(one.views is not None and len(one.views) == 2 for one in seen)
    views, head = run.look(tokens), run.head_preconditioner()
    assert views is not None
    assert head is not None
    found = LastLayer.of(views.logits, views.hidden, LABELS)
    model = classifier.model.eval()
    weight = [p for n, p in model.named_parameters() if p.requires_grad and n.endswith(".weight")][-1]
    assert head.shape == (3, weight.shape[1] + 1)
    gradients = []
    for text, label in zip(TEXTS, LABELS, strict=True):
        inputs = classifier.tokenizer(text, return_tensors="pt")
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, weight)
        gradients.append(gradient.double().numpy())
    exact = np.stack(gradients)
    mine = found.residual[:, :, None] * found.read[:, None, :]
    assert_allclose(mine[:, :, :-1], exact, atol=2e-3 * np.abs(exact).max())
    assert_allclose(found.dots(head * mine[1]), (head * mine[1] * mine).sum(axis=(1, 2)), rtol=1e-10)
    assert_allclose(found.squares(head), (head * mine * mine).sum(axis=(1, 2)), rtol=1e-10)
