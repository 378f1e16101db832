"""AdaLoRA: ranks fall to their budget, a resumed run ends the same, and the adapters go into the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.encoders.adaptive_ranks import AdaLoraSettings, add_adalora, ranks_left
from models.encoders.saving import save_classifier
from models.evaluation import predict_logits
from models.training import FittingRun, TrainingConfig
from tests.models.runs import state_after
from tests.models.tiny import build_tiny_bert

SETTINGS = AdaLoraSettings(target_r=2, init_r=4)
ADAPTERS = 2 * 2
"""Query and value of two layers, where peft puts them."""
CONFIG = TrainingConfig(num_train_epochs=5, learning_rate=1e-2, per_device_train_batch_size=4, max_steps=20)
TEXTS = ["lovely soft dress", "awful rough coat", "good fit", "bad size", "love the colour", "return it"] * 3
LABELS = np.array([1, 0, 1, 0, 1, 0] * 3)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(build_tiny_bert(tmp_path / "tiny"))


def adapted(folder: str) -> LoadedClassifier:
    loaded = load_classifier(folder, num_labels=2, seed=3)
    add_adalora(loaded.model, SETTINGS, seed=3)
    return LoadedClassifier(loaded.model, loaded.tokenizer, loaded.revision, adaptive=SETTINGS)


def data_of(classifier: LoadedClassifier) -> LabelledTexts:
    return LabelledTexts(tokenize(classifier.tokenizer, TEXTS, None, 16), LABELS)


def start(classifier: LoadedClassifier, config: TrainingConfig = CONFIG) -> FittingRun:
    return FittingRun(classifier, data_of(classifier), None, config, torch.device("cpu"))


def test_ranks_fall_to_their_budget_and_stay_there(tiny: str) -> None:
    classifier = adapted(tiny)
    left = {}
    losses = []
    for result in start(classifier).steps():
        left[result.step] = ranks_left(classifier.model)
        losses.append(result.loss)
    assert left[2] == ADAPTERS * SETTINGS.init_r  # a tenth of the steps with all
    assert left[10] == ADAPTERS * SETTINGS.target_r
    assert all(left[step + 1] <= left[step] for step in range(2, 10))
    assert {left[step] for step in range(10, 21)} == {ADAPTERS * SETTINGS.target_r}
    assert losses[-1] < losses[0]
    trained = {name for name, p in classifier.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith("classifier.") for name in trained)


@pytest.mark.parametrize("stop_after", [1, 6, 10, 15])
def test_a_resumed_run_is_the_same_to_the_bit(tiny: str, stop_after: int) -> None:
    whole, stopped, resumed = adapted(tiny), adapted(tiny), adapted(tiny)
    for _ in start(whole).steps():
        pass
    again = start(resumed)
    again.load_state_dict(state_after(start(stopped), stop_after))
    for _ in again.steps():
        pass
    for (name, value), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(value, other), name


def test_a_saved_model_says_what_the_adapted_one_said(tiny: str, tmp_path: Path) -> None:
    classifier = adapted(tiny)
    for _ in start(classifier).steps():
        pass
    tokens = data_of(classifier).tokens
    before = predict_logits(classifier.model, tokens)
    save_classifier(classifier, tmp_path / "saved", labels=["bad", "good"], max_length=16)
    alone = load_classifier(str(tmp_path / "saved"), num_labels=2, seed=0)
    np.testing.assert_allclose(predict_logits(alone.model, tokens), before, atol=1e-5)


def test_one_step_is_enough(tiny: str) -> None:
    classifier = adapted(tiny)
    for _ in start(classifier, TrainingConfig(max_steps=1)).steps():
        pass
    assert ranks_left(classifier.model) <= ADAPTERS * SETTINGS.target_r
