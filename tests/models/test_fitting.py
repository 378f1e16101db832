"""Training for the model's sake: the same steps as a scored run, and what a train job may ask beyond it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers.optimization import Adafactor

from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.errors import ModelError
from models.evaluation import evaluate, predict_logits
from models.training import FittingRun, TrainingConfig
from tests.models.conftest import LoadTiny, MakeData
from tests.models.runs import CONFIG, CPU, changed, parameters, start, state_after


def fit(
    classifier: LoadedClassifier,
    train: LabelledTexts,
    config: TrainingConfig = CONFIG,
    validation: LabelledTexts | None = None,
) -> FittingRun:
    return FittingRun(classifier, train, validation, config, CPU)


def assert_same_parameters(left: LoadedClassifier, right: LoadedClassifier) -> None:
    for name, value in parameters(left).items():
        assert torch.equal(value, parameters(right)[name]), name


def test_it_takes_the_very_steps_of_a_scored_run(load_tiny: LoadTiny, make_data: MakeData) -> None:
    fitted, scored = load_tiny(dropout=0.2), load_tiny(dropout=0.2)
    data = make_data(fitted, 21)
    wanted = list(start(scored, data).steps())
    found = list(fit(fitted, data).steps())
    for one, other in zip(found, wanted, strict=True):
        assert (one.step, one.epoch, one.epoch_ended) == (other.step, other.epoch, other.epoch_ended)
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        np.testing.assert_array_equal(one.signals.positions, other.signals.positions)
    for name, value in parameters(scored).items():
        torch.testing.assert_close(parameters(fitted)[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop_after", [1, 3, 5, 8])
@pytest.mark.parametrize("optim", ["adamw_torch", "adafactor"])
def test_a_resumed_run_is_the_same_to_the_bit(
    load_tiny: LoadTiny, make_data: MakeData, stop_after: int, optim: str
) -> None:
    config = changed(num_train_epochs=3, optim=optim, load_best_model_at_end=True, learning_rate=3e-3)
    whole = load_tiny(dropout=0.2)
    data, validation = make_data(whole, 21), make_data(whole, 6, seed=1)
    expected = [step.loss for step in fit(whole, data, config, validation).steps()]
    state = state_after(fit(load_tiny(dropout=0.2), data, config, validation), stop_after)
    resumed_classifier = load_tiny(dropout=0.2)
    resumed = fit(resumed_classifier, data, config, validation)
    resumed.load_state_dict(state)
    assert [step.loss for step in resumed.steps()] == expected[stop_after:]
    assert_same_parameters(whole, resumed_classifier)


@pytest.mark.parametrize("max_steps", [1, 2, 3, 4, 7])
def test_max_steps_is_how_many_there_are(load_tiny: LoadTiny, make_data: MakeData, max_steps: int) -> None:
    """Three steps an epoch; the last epoch ends where the run does."""
    classifier = load_tiny()
    data, validation = make_data(classifier, 21), make_data(classifier, 6, seed=1)
    run = fit(classifier, data, changed(max_steps=max_steps, num_train_epochs=1), validation)
    results = list(run.steps())
    assert [result.step for result in results] == list(range(1, max_steps + 1))
    ended = [result.step for result in results if result.epoch_ended]
    assert ended == sorted({*range(3, max_steps + 1, 3), max_steps})
    assert all((result.epoch_metrics is not None) == result.epoch_ended for result in results)
    assert run.total_steps == max_steps


def test_smoothed_labels(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 8)
    run = fit(classifier, data, changed(label_smoothing_factor=0.3, gradient_accumulation_steps=1))
    logits, losses, labels = run._forward(data, np.arange(4))
    logs = functional.log_softmax(logits, dim=1)
    own = logs[torch.arange(4), labels]
    torch.testing.assert_close(losses, -(0.7 * own + 0.3 * logs.mean(dim=1)))


def test_adafactor_is_that_of_transformers(load_tiny: LoadTiny, make_data: MakeData) -> None:
    fitted, plain = load_tiny(), load_tiny()
    data = make_data(fitted, 4)
    config = changed(
        optim="adafactor",
        max_steps=2,
        lr_scheduler_type="constant",
        gradient_accumulation_steps=1,
        max_grad_norm=None,
        weight_decay=0.0,
    )
    run = fit(fitted, data, config)
    list(run.steps())
    optimizer = Adafactor(plain.model.parameters(), lr=1e-3, scale_parameter=False, relative_step=False)
    twin = fit(plain, data, config)
    for _ in range(2):
        optimizer.zero_grad()
        plain.model.train()
        twin._forward(data, np.arange(4))[1].mean().backward()
        optimizer.step()
    found, wanted = (predict_logits(one.model, data.tokens) for one in (fitted, plain))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_best_model_is_that_of_the_lowest_validation_loss(
    load_tiny: LoadTiny, make_data: MakeData
) -> None:
    """At a learning rate that makes it worse in the end."""
    config = changed(num_train_epochs=6, learning_rate=2e-2, load_best_model_at_end=True)
    classifier, last = load_tiny(), load_tiny()
    data, validation = make_data(classifier, 21), make_data(classifier, 9, seed=1)
    results = fit(classifier, data, config, validation).steps()
    losses = [result.epoch_metrics.loss for result in results if result.epoch_metrics is not None]
    assert min(losses) < losses[-1], "the case shows nothing"
    assert evaluate(classifier.model, validation).loss == pytest.approx(min(losses), rel=1e-6)
    plain = changed(num_train_epochs=6, learning_rate=2e-2)
    list(fit(last, data, plain, validation).steps())
    assert evaluate(last.model, validation).loss == pytest.approx(losses[-1], rel=1e-6)


def test_a_diverged_run_names_its_samples(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 8)
    with torch.no_grad():
        classifier.model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(ModelError) as caught:
        list(fit(classifier, data, changed(gradient_accumulation_steps=1)).steps())
    assert caught.value.code == "non_finite_score"
    assert len(caught.value.positions) == 4
