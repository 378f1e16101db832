"""Parameters, the learning rate, decay, precision and early stopping, each against what it stands for."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments, get_scheduler

from models.errors import ModelError
from models.training import TrainingConfig, pick_device
from models.training.config import SCHEDULES
from models.training.optimizer import build_optimizer, decayed_parameter_names, learning_rate_at
from models.training.precision import LossScale, autocast_dtype
from models.training.randomness import seeded_randomness
from models.training.stopping import EarlyStopping
from tests.models.conftest import LoadTiny


@pytest.mark.parametrize(
    "fault",
    [
        {"num_train_epochs": 0},
        {"num_train_epochs": 1.5},
        {"num_train_epochs": True},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"per_device_train_batch_size": 0},
        {"gradient_accumulation_steps": 0},
        {"warmup_ratio": 1.1},
        {"weight_decay": "much"},
        {"optim": "sgd"},
        {"lr_scheduler_type": "polynomial"},
        {"max_grad_norm": 0.0},
        {"seed": -1},
        {"bf16": True, "fp16": True},
        {"early_stopping_patience": 0},
        {"max_length": 2},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused_by_name(fault: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(fault))) as caught:
        TrainingConfig(**fault)
    assert caught.value.code == "invalid_training_config"


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ModelError, match=r"num_train_epochs.*learning_rate.*optim"):
        TrainingConfig(num_train_epochs=0, learning_rate=-1.0, optim="sgd")


def test_names_are_those_of_training_arguments() -> None:
    ours = set(TrainingConfig.__dataclass_fields__)
    theirs = set(TrainingArguments.__dataclass_fields__)
    own = {"early_stopping_patience", "max_length", "alignment_steps", "alignment_samples", "projection_dim"}
    own |= {"loss"}
    assert ours - theirs == {"warmup_ratio", *own}


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(total=st.integers(1, 60), ratio=st.sampled_from([0.0, 0.06, 0.1, 0.5, 1.0]))
def test_the_learning_rate_is_that_of_transformers(schedule: str, total: int, ratio: float) -> None:
    config = TrainingConfig(learning_rate=3e-4, warmup_ratio=ratio, lr_scheduler_type=schedule)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    warmup = int(np.ceil(ratio * total))
    scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    for step in range(total):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate_at(step, total, config) == pytest.approx(expected, rel=1e-12, abs=1e-18)
        optimizer.step()
        scheduler.step()


def test_decay_spares_biases_and_norms(load_tiny: LoadTiny) -> None:
    model: Any = load_tiny().model
    model.bert.embeddings.requires_grad_(False)
    decayed = decayed_parameter_names(model)
    assert "classifier.weight" in decayed
    assert "bert.encoder.layer.0.attention.self.query.weight" in decayed
    assert not [name for name in decayed if "bias" in name or "LayerNorm" in name or "embeddings" in name]
    optimizer = build_optimizer(model, TrainingConfig(weight_decay=0.1))
    by_decay = {group["weight_decay"]: len(group["params"]) for group in optimizer.param_groups}
    trainable = sum(parameter.requires_grad for parameter in model.parameters())
    assert by_decay == {0.1: len(decayed), 0.0: trainable - len(decayed)}


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_needs_a_gpu(name: str) -> None:
    config = TrainingConfig(bf16=name == "bf16", fp16=name == "fp16")
    with pytest.raises(ModelError) as caught:
        autocast_dtype(config, torch.device("cpu"))
    assert caught.value.code == "precision_unavailable"


def test_the_device_is_one_that_works() -> None:
    assert torch.ones(1, device=pick_device()).item() == 1.0
    assert autocast_dtype(TrainingConfig(), pick_device()) is None


def test_the_loss_scale_halves_at_once_and_doubles_slowly() -> None:
    scale = LossScale.for_dtype(torch.float16)
    assert scale.factor == 65536.0
    assert scale.shrink()
    assert scale.factor == 32768.0
    for _ in range(1999):
        scale.grow()
    assert scale.factor == 32768.0
    copy = LossScale.for_dtype(torch.float16)
    copy.load_state_dict(scale.state_dict())
    copy.grow()
    assert copy.factor == 65536.0
    while copy.shrink():
        pass
    assert 0 < copy.factor < 1e-3


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_without_float16_there_is_no_loss_scale(dtype: torch.dtype | None) -> None:
    scale = LossScale.for_dtype(dtype)
    assert not scale.shrink()
    for _ in range(5000):
        scale.grow()
    assert scale.factor == 1.0


def test_randomness_follows_the_key_and_is_put_back() -> None:
    def draw() -> tuple[float, float, float]:
        # The global generators are what is under test.
        return torch.rand(1).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    cpu = torch.device("cpu")
    torch.manual_seed(1)
    outside = [draw() for _ in range(2)]
    torch.manual_seed(1)
    state = random.getstate(), np.random.get_state()  # noqa: NPY002
    first_outside = draw()
    with seeded_randomness(cpu, 3, 4, 5):
        first = draw()
    second_outside = draw()
    with seeded_randomness(cpu, 3, 4, 5):
        again = draw()
    with seeded_randomness(cpu, 3, 4, 6):
        other = draw()
    assert first == again
    assert not set(first) & set(other)
    assert (first_outside[0], second_outside[0]) == (outside[0][0], outside[1][0])
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    assert [draw()[1:] for _ in range(2)] == [first_outside[1:], second_outside[1:]]


@pytest.mark.parametrize(
    ("patience", "losses", "stops_after"),
    [
        (1, [1.0, 0.9, 0.9, 0.8], 3),
        (2, [1.0, 1.1, 0.9, 1.0, 1.0, 0.1], 5),
        (None, [1.0, 2.0, 3.0], None),
        (1, [float("nan")], 1),
    ],
)
def test_patience_counts_epochs_without_gain(
    patience: int | None, losses: list[float], stops_after: int | None
) -> None:
    stopping = EarlyStopping(patience)
    answers = [stopping.should_stop(loss) for loss in losses]
    assert (answers.index(True) + 1 if True in answers else None) == stops_after
