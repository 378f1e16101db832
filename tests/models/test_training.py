"""A run: what it visits, what it computes and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.batching import LabelledTexts, tokenize
from models.errors import ModelError
from models.gradients import GradientObserver
from models.training import ScoringRun, TrainingConfig
from models.training.precision import LossScale
from tests.models.conftest import LoadTiny, MakeData
from tests.models.runs import CONFIG, CPU, changed, parameters, saved, start


@pytest.mark.parametrize(("count", "steps"), [(3, 1), (8, 1), (9, 2), (23, 3)])
def test_every_sample_is_visited_once_an_epoch(
    load_tiny: LoadTiny, make_data: MakeData, count: int, steps: int
) -> None:
    classifier = load_tiny()
    run = start(classifier, make_data(classifier, count))
    results = list(run.steps())
    assert run.total_steps == len(results) == 2 * steps
    assert run.finished
    assert list(run.steps()) == []
    assert [result.step for result in results] == list(range(1, 2 * steps + 1))
    assert [result.epoch_ended for result in results] == ([False] * (steps - 1) + [True]) * 2
    for epoch in (0, 1):
        visited = np.concatenate([r.signals.positions for r in results if r.epoch == epoch])
        assert sorted(visited.tolist()) == list(range(count))


def test_coverage_is_the_whole_model(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    run = start(classifier, make_data(classifier, 6))
    assert {entry.name for entry in run.coverage} == set(parameters(classifier))


@pytest.mark.parametrize("max_grad_norm", [None, 0.05])
def test_one_step_is_the_mean_loss_over_its_samples(
    load_tiny: LoadTiny, make_data: MakeData, max_grad_norm: float | None
) -> None:
    """Seven samples as 4 + 3: the gradient is that of the mean over 7, not of the mean of two means."""
    classifier, twin = load_tiny(), load_tiny()
    data = make_data(classifier, 7)
    config = changed(num_train_epochs=1, max_grad_norm=max_grad_norm, lr_scheduler_type="constant")
    (result,) = start(classifier, data, config).steps()
    model = twin.model.train()
    losses = []
    for i in range(7):
        ids = torch.tensor(data.tokens.ids[data.tokens.offsets[i] : data.tokens.offsets[i + 1]])[None].long()
        losses.append(functional.cross_entropy(model(input_ids=ids).logits, torch.tensor(data.labels[[i]])))
    mean = torch.stack(losses).mean()
    mean.backward()
    if max_grad_norm is not None:
        assert torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm) > max_grad_norm
    assert result.loss == pytest.approx(mean.item(), rel=1e-5)
    for ours, theirs in zip(classifier.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-7)
        theirs.grad = ours.grad
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    others = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=1e-3).step()
    after = parameters(classifier)
    for name, value in parameters(twin).items():
        torch.testing.assert_close(after[name], value, rtol=1e-6, atol=1e-8)


def test_norms_do_not_depend_on_batch_size_or_accumulation(load_tiny: LoadTiny, make_data: MakeData) -> None:
    found = []
    for batch_size, accumulation in ((1, 1), (4, 1), (4, 3), (23, 1)):
        classifier = load_tiny()
        config = changed(
            num_train_epochs=1,
            learning_rate=0.0,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
        )
        norms = np.zeros(23)
        for result in start(classifier, make_data(classifier, 23), config).steps():
            norms[result.signals.positions] = result.signals.grad_norm
        found.append(norms)
    for norms in found[1:]:
        np.testing.assert_allclose(norms, found[0], rtol=1e-4)


def test_a_learning_rate_of_zero_leaves_the_model_as_it_was(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny(dropout=0.1)
    before = parameters(classifier)
    results = list(start(classifier, make_data(classifier, 9), changed(learning_rate=0.0)).steps())
    assert all(torch.equal(before[name], value) for name, value in parameters(classifier).items())
    assert all((result.signals.grad_norm > 0).all() for result in results)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_measuring_visits_others_and_leaves_the_model_as_it_is(
    load_tiny: LoadTiny, make_data: MakeData, dropout: float
) -> None:
    classifier = load_tiny(dropout=dropout)
    data, outside = make_data(classifier, 12), make_data(classifier, 19)
    run = start(classifier, data)
    list(run.steps())
    before = parameters(classifier)
    measured = list(run.measure(outside))
    assert all(torch.equal(before[name], value) for name, value in parameters(classifier).items())
    assert all(parameter.grad is None for parameter in classifier.model.parameters())
    visited = np.concatenate([signals.positions for signals in measured])
    assert sorted(visited.tolist()) == list(range(19))
    again = list(run.measure(outside, start=1))
    assert len(again) == len(measured) - 1
    for first, second in zip(measured[1:], again, strict=True):
        np.testing.assert_array_equal(first.grad_norm, second.grad_norm)
    if dropout == 0.0:
        norms = np.zeros(19)
        norms[visited] = np.concatenate([signals.grad_norm for signals in measured])
        np.testing.assert_allclose(norms, [norm_alone(classifier, outside, i) for i in range(19)], rtol=1e-4)


def norm_alone(classifier: Any, data: LabelledTexts, position: int) -> float:
    """By one backward pass for the sample alone."""
    start_, end = data.tokens.offsets[position : position + 2]
    ids = torch.tensor(data.tokens.ids[start_:end])[None].long()
    classifier.model.zero_grad(set_to_none=True)
    loss = functional.cross_entropy(
        classifier.model(input_ids=ids).logits, torch.tensor(data.labels[[position]])
    )
    loss.backward()
    squares = [
        float((p.grad.double() ** 2).sum()) for p in classifier.model.parameters() if p.grad is not None
    ]
    return float(np.sqrt(sum(squares)))


def test_training_learns(load_tiny: LoadTiny) -> None:
    classifier = load_tiny()
    texts = [
        "good dress",
        "bad dress",
        "soft dress",
        "this coat is good",
        "bad coat",
        "the shirt was soft",
    ] * 4
    data = LabelledTexts(tokenize(classifier.tokenizer, texts, None, 16), np.arange(24) % 3)
    config = changed(num_train_epochs=40, learning_rate=1e-3, lr_scheduler_type="cosine")
    results = list(start(classifier, data, config, validation=data).steps())
    metrics = [result.epoch_metrics for result in results if result.epoch_metrics is not None]
    assert len(metrics) == 40
    assert metrics[-1].accuracy == 1.0
    assert metrics[-1].loss < 0.6 * metrics[0].loss


def test_dropout_differs_between_visits_and_seeds(load_tiny: LoadTiny, make_data: MakeData) -> None:
    """Else the test above could pass with dropout off."""

    def norms(dropout: float, seed: int) -> list[np.ndarray]:
        classifier = load_tiny(dropout=dropout)
        data = make_data(classifier, 4)
        config = changed(learning_rate=0.0, per_device_train_batch_size=4, seed=seed)
        results = list(start(classifier, data, config).steps())
        return [result.signals.grad_norm[np.argsort(result.signals.positions)] for result in results]

    first, second = norms(0.2, 1)
    assert not np.allclose(first, second, rtol=1e-3)
    assert not np.allclose(first, norms(0.2, 2)[0], rtol=1e-3)
    first, second = norms(0.0, 1)
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_leaving_a_run_early_takes_the_hooks_out(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    steps = start(classifier, make_data(classifier, 21)).steps()
    next(steps)
    assert any("forward" in vars(module) for module in classifier.model.modules())
    steps.close()
    assert not any("forward" in vars(module) for module in classifier.model.modules())
    with GradientObserver(classifier.model):
        pass


def test_frozen_parameters_stay_and_count_for_nothing(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    model: Any = classifier.model
    model.bert.requires_grad_(False)
    before = parameters(classifier)
    run = start(classifier, make_data(classifier, 9))
    list(run.steps())
    assert {entry.name for entry in run.coverage} == {"classifier.weight", "classifier.bias"}
    after = parameters(classifier)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_an_overflowing_loss_scale_repeats_the_step_instead_of_losing_it(
    load_tiny: LoadTiny, make_data: MakeData
) -> None:
    """float32 with an absurd scale overflows as float16 does; after halving, all is as without a scale."""
    plain, scaled = load_tiny(dropout=0.2), load_tiny(dropout=0.2)
    data = make_data(plain, 13)
    expected = list(start(plain, data).steps())
    run = start(scaled, data)
    run._loss_scale = LossScale(enabled=True, factor=2.0**127)
    for got, wanted in zip(run.steps(), expected, strict=True):
        np.testing.assert_allclose(got.signals.grad_norm, wanted.signals.grad_norm, rtol=2e-3)
        np.testing.assert_allclose(got.signals.loss, wanted.signals.loss, rtol=2e-3)
    assert 1.0 < run._loss_scale.factor < 2.0**127
    resumed = start(load_tiny(dropout=0.2), data)
    resumed.load_state_dict(saved(run))
    assert resumed._loss_scale.factor == run._loss_scale.factor


def test_a_non_finite_score_names_its_samples_and_changes_nothing(
    load_tiny: LoadTiny, make_data: MakeData
) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 3)
    run = start(classifier, data)
    model: Any = classifier.model
    victim = data.tokens.ids[data.tokens.offsets[1] + 1]
    hit = {i for i in range(3) if victim in data.tokens.take(np.array([i])).ids}
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[int(victim)] = float("inf")
    before = parameters(classifier)
    with pytest.raises(ModelError) as caught:
        list(run.steps())
    assert caught.value.code == "non_finite_score"
    assert set(caught.value.positions) == hit
    assert all(torch.equal(before[name], value) for name, value in parameters(classifier).items())


def with_labels(data: LabelledTexts, labels: list[int]) -> LabelledTexts:
    return LabelledTexts(data.tokens, np.array(labels, dtype=np.int64))


def test_data_that_cannot_be_trained_on_is_refused(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 3)
    beyond = classifier.model.config.vocab_size
    foreign = make_data(classifier, 3)
    foreign.tokens.ids[0] = beyond
    nothing = data.take(np.zeros(0, dtype=np.int64))
    patient = changed(early_stopping_patience=1)
    cases: dict[str, tuple[LabelledTexts, LabelledTexts | None, TrainingConfig]] = {
        "empty_split": (nothing, None, CONFIG),
        "too_few_classes": (with_labels(data, [1, 1, 1]), None, CONFIG),
        "label_out_of_range": (with_labels(data, [0, 1, 3]), None, CONFIG),
        "tokenizer_mismatch": (data, foreign, CONFIG),
        "no_validation": (data, nothing, patient),
        "precision_unavailable": (data, None, changed(bf16=True)),
    }
    for code, (train, validation, config) in cases.items():
        with pytest.raises(ModelError) as caught:
            ScoringRun(classifier, train, validation, config, CPU)
        assert caught.value.code == code
