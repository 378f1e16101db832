"""Short runs on the CPU, and what tests compare of them."""

from __future__ import annotations

import io
from typing import Any

import torch

from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.training import ScoringRun, TrainingConfig
from models.training.loop import TrainingRun

CPU = torch.device("cpu")
CONFIG = TrainingConfig(
    num_train_epochs=2,
    learning_rate=1e-3,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    warmup_ratio=0.2,
    weight_decay=0.01,
    seed=3,
)


def changed(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**(vars(CONFIG) | changes))


def start(
    classifier: LoadedClassifier,
    train: LabelledTexts,
    config: TrainingConfig = CONFIG,
    validation: LabelledTexts | None = None,
) -> ScoringRun:
    return ScoringRun(classifier, train, validation, config, CPU)


def parameters(classifier: LoadedClassifier) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in classifier.model.named_parameters()}


def state_after(run: TrainingRun[Any], steps: int) -> dict[str, Any]:
    """The state of a run that is stopped after so many steps, as it comes back from a file."""
    going = run.steps()
    for _ in range(steps):
        next(going)
    state = saved(run)
    going.close()
    return state


def saved(run: TrainingRun[Any]) -> dict[str, Any]:
    """The state as it comes back from a file."""
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state
