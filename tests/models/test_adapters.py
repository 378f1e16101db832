"""LoRA: the adapters and the head train, and the norms cover just them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.encoders.adapters import LoraSettings, adapter_values, add_lora
from models.errors import ModelError
from models.training import ScoringRun, TrainingConfig
from tests.models.tiny import build_tiny_bert

TEXTS = ["the dress is lovely", "awful", "good fit and soft", "bad size", "return it", "love the colour"]


@pytest.fixture
def adapted(tmp_path: Path) -> LoadedClassifier:
    classifier = load_classifier(str(build_tiny_bert(tmp_path / "tiny")), num_labels=2, seed=3)
    add_lora(classifier.model, LoraSettings(r=4), seed=3)
    return classifier


def test_adapters_and_head_alone_are_trainable(adapted: LoadedClassifier) -> None:
    trainable = {name for name, p in adapted.model.named_parameters() if p.requires_grad}
    assert {"classifier.weight", "classifier.bias"} < trainable
    assert all("lora_" in name or name.startswith("classifier.") for name in trainable)
    # Query and value of two layers: A is (4, 32), B is (32, 4).
    assert adapter_values(adapted.model) == 2 * 2 * 2 * 4 * 32


def test_the_same_seed_draws_the_same_adapters(tmp_path: Path) -> None:
    folder = str(build_tiny_bert(tmp_path / "tiny"))
    drawn = []
    for _ in range(2):
        classifier = load_classifier(folder, num_labels=2, seed=3)
        add_lora(classifier.model, LoraSettings(), seed=9)
        drawn.append({n: p for n, p in classifier.model.named_parameters() if "lora_A" in n})
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])


def test_norms_are_those_of_one_backward_per_sample(adapted: LoadedClassifier) -> None:
    labels = np.array([1, 0, 1, 0, 0, 1])
    data = LabelledTexts(tokenize(adapted.tokenizer, TEXTS, None, 16), labels)
    config = TrainingConfig(num_train_epochs=2, learning_rate=0.0, per_device_train_batch_size=4)
    with torch.no_grad():  # B begins at zero, which would leave the gradient of A zero too
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    run = ScoringRun(adapted, data, None, config, torch.device("cpu"))
    assert {parameter.name for parameter in run.coverage} == {
        name for name, p in adapted.model.named_parameters() if p.requires_grad
    }
    norms = np.zeros(len(labels))
    for step in run.steps():
        norms[step.signals.positions] = step.signals.grad_norm
    adapted.model.eval()
    for position, text in enumerate(TEXTS):
        adapted.model.zero_grad()
        inputs = adapted.tokenizer(text, return_tensors="pt")
        logits = adapted.model(**inputs).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([labels[position]])).backward()
        grads = [p.grad.flatten() for p in adapted.model.parameters() if p.grad is not None]
        assert norms[position] == pytest.approx(float(torch.cat(grads).double().norm()), rel=1e-4)


def test_modules_that_are_not_there_are_named_in_the_error(tmp_path: Path) -> None:
    classifier = load_classifier(str(build_tiny_bert(tmp_path / "tiny")), num_labels=2, seed=3)
    with pytest.raises(ModelError) as error:
        add_lora(classifier.model, LoraSettings(target_modules=["nowhere"]), seed=3)
    assert error.value.code == "invalid_peft"
    assert "nowhere" in error.value.detail
