"""The product's number against its definition: S_i recomputed by one backward per sample and checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.training import ScoringRun, TrainingConfig
from tests.models.conftest import LoadTiny, MakeData
from tests.models.tiny import build_tiny_gpt2


def plain_norm(model: torch.nn.Module, data: LabelledTexts, index: int) -> float:
    """‖∇ℓ_i‖₂ of one sample alone: no batch mates, no padding, no mask."""
    start, stop = data.tokens.offsets[index : index + 2]
    inputs = {"input_ids": torch.tensor(data.tokens.ids[start:stop].astype(np.int64))[None]}
    if data.tokens.type_ids is not None:
        inputs["token_type_ids"] = torch.tensor(data.tokens.type_ids[start:stop].astype(np.int64))[None]
    loss = functional.cross_entropy(model(**inputs).logits, torch.tensor(data.labels[index : index + 1]))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return float(torch.stack([gradient.double().square().sum() for gradient in gradients]).sum().sqrt())


def assert_importance_is_its_definition(
    classifier: LoadedClassifier, data: LabelledTexts, config: TrainingConfig
) -> None:
    checkpoint = copy.deepcopy(classifier.model)
    at_first = [plain_norm(checkpoint, data, index) for index in range(len(data))]
    run = ScoringRun(classifier, data, None, config, torch.device("cpu"))
    recorded, recomputed = np.zeros(len(data)), np.zeros(len(data))
    visits = np.zeros(len(data), dtype=np.int64)
    for result in run.steps():
        positions = result.signals.positions
        recorded[positions] += result.signals.grad_norm
        recomputed[positions] += [plain_norm(checkpoint, data, int(index)) for index in positions]
        visits[positions] += 1
        checkpoint.load_state_dict(classifier.model.state_dict())
    assert (visits == config.num_train_epochs).all()
    np.testing.assert_allclose(recorded / visits, recomputed / visits, rtol=1e-4)
    at_last = [plain_norm(checkpoint, data, index) for index in range(len(data))]
    assert not np.allclose(at_first, at_last, rtol=0.02)


def test_importance_of_single_texts(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    config = TrainingConfig(
        num_train_epochs=3,
        learning_rate=2e-3,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        warmup_ratio=0.1,
        weight_decay=0.01,
        max_grad_norm=0.5,
    )
    assert_importance_is_its_definition(classifier, make_data(classifier, 23), config)


def test_importance_of_text_pairs(load_tiny: LoadTiny) -> None:
    classifier = load_tiny(num_labels=2)
    texts = ["good dress", "bad coat size", "the shirt was not very good", "soft", "lovely lovely lovely fit"]
    pairs = ["love", "return this cheap rough coat", None, "", "keep"]
    data = LabelledTexts(
        tokenize(classifier.tokenizer, texts, pairs, 12), np.array([0, 1, 1, 0, 1], dtype=np.int64)
    )
    config = TrainingConfig(num_train_epochs=4, learning_rate=2e-3, per_device_train_batch_size=2)
    assert_importance_is_its_definition(classifier, data, config)


def test_importance_under_a_decoder(tmp_path: Path) -> None:
    """GPT-2: causal, padded with its end token, tied to nothing of its batch mates."""
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    folder = str(build_tiny_gpt2(tmp_path / "gpt2"))
    classifier = load_classifier(folder, num_labels=2, seed=0, config_overrides=no_dropout)
    texts = ["good dress", "", "the shirt was not very good", "bad", "lovely lovely lovely fit", "soft coat"]
    data = LabelledTexts(tokenize(classifier.tokenizer, texts, None, 32), np.arange(6, dtype=np.int64) % 2)
    config = TrainingConfig(num_train_epochs=3, learning_rate=2e-3, per_device_train_batch_size=4)
    assert_importance_is_its_definition(classifier, data, config)
