"""A stopped run goes on to the bit; a checkpoint of another run does not go on at all."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.signals import VisitSignals
from models.training import StepResult
from tests.models.conftest import LoadTiny, MakeData
from tests.models.runs import CONFIG, changed, parameters, saved, start

SIGNALS = tuple(name for name in VisitSignals.__dataclass_fields__ if name != "views")


def assert_same_step(left: StepResult[VisitSignals], right: StepResult[VisitSignals]) -> None:
    """Equal to the bit."""
    assert (left.step, left.epoch, left.loss, left.learning_rate) == (
        right.step,
        right.epoch,
        right.loss,
        right.learning_rate,
    )
    assert (left.epoch_ended, left.epoch_metrics) == (right.epoch_ended, right.epoch_metrics)
    for name in SIGNALS:
        assert np.array_equal(getattr(left.signals, name), getattr(right.signals, name)), name
    assert left.signals.views is not None
    assert right.signals.views is not None
    for name, values in vars(left.signals.views).items():
        assert np.array_equal(values, getattr(right.signals.views, name)), name


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
def test_a_resumed_run_is_the_same_to_the_bit(
    load_tiny: LoadTiny, make_data: MakeData, stop_after: int
) -> None:
    """With dropout, across epoch ends, in the middle of one, and whoever draws random numbers meanwhile."""
    config = changed(early_stopping_patience=2, alignment_steps=2, projection_dim=16)
    whole = load_tiny(dropout=0.2)
    data, validation = make_data(whole, 21), make_data(whole, 6, seed=1)
    expected = list(start(whole, data, config, validation).steps())
    assert len(expected) == 6

    torch.manual_seed(1)
    first = start(load_tiny(dropout=0.2), data, config, validation)
    steps = first.steps()
    for wanted in expected[:stop_after]:
        assert_same_step(next(steps), wanted)
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002
        random.random()
    state = saved(first)
    steps.close()

    torch.manual_seed(2)
    resumed_classifier = load_tiny(dropout=0.2)
    for parameter in resumed_classifier.model.parameters():
        parameter.data.add_(1.0)
    resumed = start(resumed_classifier, data, config, validation)
    resumed.load_state_dict(state)
    for got, wanted in zip(resumed.steps(), expected[stop_after:], strict=True):
        assert_same_step(got, wanted)
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(resumed_classifier)[name])


def test_a_checkpoint_of_another_run_is_refused(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    state = start(classifier, make_data(classifier, 9)).state_dict()
    others = {
        "config": start(load_tiny(), make_data(classifier, 9), changed(seed=4)),
        "train": start(load_tiny(), make_data(classifier, 9, seed=8)),
        "validation": start(load_tiny(), make_data(classifier, 9), CONFIG, make_data(classifier, 3)),
        "parameters": start(load_tiny(num_labels=4), make_data(classifier, 9)),
    }
    for part, other in others.items():
        with pytest.raises(ModelError, match=f"other {part}") as caught:
            other.load_state_dict(state)
        assert caught.value.code == "checkpoint_mismatch"


def test_early_stopping_ends_at_an_epochs_end_and_stays_ended(
    load_tiny: LoadTiny, make_data: MakeData
) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 21)
    config = changed(num_train_epochs=9, learning_rate=0.0, early_stopping_patience=2)
    run = start(classifier, data, config, make_data(classifier, 6, seed=1))
    results = []
    for result in run.steps():
        results.append(result)
        if result.step == 2 * run.steps_per_epoch:
            after_two_epochs = saved(run)
    assert len(results) == 3 * run.steps_per_epoch < run.total_steps
    assert results[-1].epoch_ended
    assert run.finished
    resumed = start(load_tiny(), data, config, make_data(classifier, 6, seed=1))
    resumed.load_state_dict(saved(run))
    assert resumed.finished
    resumed.load_state_dict(after_two_epochs)
    assert len(list(resumed.steps())) == run.steps_per_epoch
