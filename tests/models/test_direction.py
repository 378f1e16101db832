"""Alignment with the validation gradient: by its definition, and to the bit after a resume."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.training import ScoringRun, TrainingConfig
from tests.models.tiny import build_tiny_bert

TEXTS = ["the dress is lovely", "awful", "good fit and soft", "bad size", "return it", "love the colour"]
LABELS = np.array([1, 0, 1, 0, 0, 1])
HELD_OUT = ["lovely coat", "awful fit", "good", "bad"]


def begin(tmp_path: Path, *, dropout: float = 0.0, **config: Any) -> tuple[ScoringRun, LoadedClassifier]:
    folder = build_tiny_bert(tmp_path / "tiny", dropout=dropout)
    classifier = load_classifier(str(folder), num_labels=2, seed=3)
    data = LabelledTexts(tokenize(classifier.tokenizer, TEXTS, None, 16), LABELS)
    held_out = LabelledTexts(tokenize(classifier.tokenizer, HELD_OUT, None, 16), np.array([1, 0, 1, 0]))
    plan = TrainingConfig(**({"num_train_epochs": 3, "per_device_train_batch_size": 2} | config))
    return ScoringRun(classifier, data, held_out, plan, torch.device("cpu")), classifier


def gradient_of(classifier: LoadedClassifier, text: str, label: int) -> torch.Tensor:
    classifier.model.zero_grad()
    logits = classifier.model(**classifier.tokenizer(text, return_tensors="pt")).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor([label])).backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in classifier.model.parameters()]
    return torch.cat([part.flatten() for part in parts]).double()


def test_before_the_first_update_it_is_the_cosine_with_the_mean_validation_gradient(tmp_path: Path) -> None:
    """The optimiser knows nothing yet, so the direction is the plain mean gradient."""
    run, classifier = begin(tmp_path, learning_rate=0.0, alignment_steps=10**6)
    found = np.zeros(len(TEXTS))
    for step in run.steps():
        if step.epoch == 0:
            found[step.signals.positions] = step.signals.alignment
    classifier.model.eval()
    held_out = zip(HELD_OUT, (1, 0, 1, 0), strict=True)
    direction = torch.stack([gradient_of(classifier, text, label) for text, label in held_out]).mean(0)
    for position, text in enumerate(TEXTS):
        gradient = gradient_of(classifier, text, int(LABELS[position]))
        cosine = torch.nn.functional.cosine_similarity(gradient, direction, dim=0)
        assert found[position] == pytest.approx(float(cosine), abs=1e-4)


def test_the_direction_does_not_change_the_training(tmp_path: Path) -> None:
    runs = [begin(tmp_path / str(steps), learning_rate=1e-3, alignment_steps=steps)[0] for steps in (1, None)]
    losses = [[step.loss for step in run.steps()] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_alignment_there_is_none(tmp_path: Path) -> None:
    run, _ = begin(tmp_path)
    assert all(np.isnan(step.signals.alignment).all() for step in run.steps())


@pytest.mark.parametrize("stop_after", [1, 4, 5])
def test_a_resumed_run_has_the_same_alignments(tmp_path: Path, stop_after: int) -> None:
    plan = {"dropout": 0.2, "learning_rate": 1e-3, "alignment_steps": 4}
    whole = [step.signals.alignment for step in begin(tmp_path, **plan)[0].steps()]
    first = begin(tmp_path, **plan)[0]
    steps = first.steps()
    for _ in range(stop_after):
        next(steps)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = begin(tmp_path, **plan)[0]
    second.load_state_dict(torch.load(saved, weights_only=True))
    for step, wanted in zip(second.steps(), whole[stop_after:], strict=True):
        np.testing.assert_array_equal(step.signals.alignment, wanted)
