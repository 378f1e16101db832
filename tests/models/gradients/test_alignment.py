"""Alignment, influence and projections, against the gradients written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.gradients import (
    GradientObserver,
    MeanProjections,
    ObservationStateError,
    SeededProjection,
    adam_preconditioner,
    mean_gradient,
    preconditioned,
)
from models.gradients.rows import RowScout
from models.gradients.twin import per_sample_gradients
from tests.models.gradients.checks import assert_close, classification_losses
from tests.models.gradients.families import padded_batch, tiny_classifier


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def test_influence_is_the_dot_product_of_adams_step_with_the_validation_gradient() -> None:
    model = tiny_classifier("bert", torch.float64)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
    losses = classification_losses(model, *padded_batch([6, 3, 5]))
    validation = classification_losses(model, *padded_batch([4, 7], seed=2))
    for _ in range(2):
        optimizer.zero_grad()
        losses().mean().backward()
        optimizer.step()
    parameters = trainable(model)
    with GradientObserver(model) as observer:
        with observer.paused():
            towards = mean_gradient((validation() for _ in range(2)), parameters)
        preconditioner = adam_preconditioner(optimizer, parameters)
        direction = preconditioned(towards, preconditioner)
        observer.set_direction(direction.values)
        losses().mean().backward()
        result = observer.take(1 / 3)
        (losses() * torch.tensor([1.0, 0.0, 1.0])).sum().backward()
        unseen = observer.take(torch.tensor([1.0, 0.0, 1.0]))
    assert direction.alignment(unseen).isnan().tolist() == [False, True, False]
    gradients, norms = per_sample_gradients(model, losses)
    expected_towards, _ = per_sample_gradients(model, validation)
    expected = torch.zeros(3, dtype=torch.float64)
    for name, gradient in gradients.items():
        moment = optimizer.state[parameters[name]]["exp_avg_sq"] / (1 - 0.999**2)
        scaled = gradient / (moment.sqrt() + 1e-8)
        expected += (scaled * expected_towards[name].mean(0)).flatten(1).sum(1)
    assert_close(direction.influence(result, 0.1), 0.1 * expected, 1e-9, "influence")
    assert_close(direction.alignment(result), expected / (norms * direction.norm), 1e-9, "alignment")


def test_words_that_training_has_not_met_do_not_turn_the_direction() -> None:
    model = tiny_classifier("bert", torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    classification_losses(model, *padded_batch([6, 3, 5]))().mean().backward()  # words 2 to 11
    optimizer.step()
    parameters = trainable(model)
    table = adam_preconditioner(optimizer, parameters)["bert.embeddings.word_embeddings.weight"]
    seen = model.bert.embeddings.word_embeddings.weight.grad.ne(0)
    assert (table[~seen] == 0).all()
    assert (table[seen] > 0).all()
    inputs = {"input_ids": torch.full((2, 4), 30), "attention_mask": torch.ones(2, 4, dtype=torch.long)}
    towards = mean_gradient([classification_losses(model, inputs, torch.tensor([0, 1]))()], parameters)
    direction = preconditioned(towards, adam_preconditioner(optimizer, parameters))
    assert towards["bert.embeddings.word_embeddings.weight"][30].abs().max() > 0
    assert direction.values["bert.embeddings.word_embeddings.weight"][30].abs().max() == 0


def test_without_a_direction_or_a_validation_split_there_is_no_alignment() -> None:
    model = tiny_classifier("bert", torch.float32)
    parameters = trainable(model)
    ones = adam_preconditioner(torch.optim.AdamW(model.parameters()), parameters)
    assert all(bool((value == 1).all()) for value in ones.values())
    with pytest.raises(ObservationStateError, match="empty"):
        mean_gradient([], parameters)
    with GradientObserver(model) as observer:
        classification_losses(model, *padded_batch([3]))().sum().backward()
        result = observer.take()
        with pytest.raises(ObservationStateError, match="lacks"):
            observer.set_direction({})
    with pytest.raises(ObservationStateError, match="No direction"):
        preconditioned(ones, ones).influence(result, 0.1)


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen2"])
def test_projections_are_the_written_out_linear_map(family: str) -> None:
    model = tiny_classifier(family, torch.float64)
    losses = classification_losses(model, *padded_batch([6, 3, 5]))
    gradients, _ = per_sample_gradients(model, losses)
    projection = SeededProjection(dim=32, seed=3)
    with GradientObserver(model) as observer:
        observer.set_projection(projection)
        (losses() * 2.0).sum().backward()
        found = observer.take(2.0).projections
    again = SeededProjection(dim=32, seed=3)
    expected = torch.zeros(3, 32, dtype=torch.float64)
    for name, gradient in gradients.items():
        expected += again._of_values(name, gradient.shape[1:], gradient)
    assert found is not None
    assert_close(found, expected, 1e-6, "projections")


def test_projections_keep_lengths_on_average() -> None:
    model = tiny_classifier("bert", torch.float32)
    losses = classification_losses(model, *padded_batch([6, 3, 5]))
    ratios = []
    with GradientObserver(model) as observer:
        for seed in range(40):
            observer.set_projection(SeededProjection(dim=256, seed=seed))
            losses().sum().backward()
            result = observer.take()
            assert result.projections is not None
            ratios.append(result.projections.square().sum(1) / result.norms.square())
    mean = torch.stack(ratios).mean(0)
    assert float((mean - 1).abs().max()) < 0.1  # its standard deviation is 0.014


def test_mean_projections_over_visits() -> None:
    generator = np.random.default_rng(0)
    visits = generator.normal(size=(5, 3, 16)).astype(np.float32) * np.float32([[[1.0], [1e-9], [0.0]]])
    means = MeanProjections(samples=8, dim=16)
    rows = np.array([6, 2, 4])
    for visit in visits:
        means.add(rows, visit, np.linalg.norm(visit, axis=1).astype(np.float64))
    expected = np.linalg.norm(visits.mean(0), axis=1)
    np.testing.assert_allclose(means.response(rows), expected, rtol=5e-3)
    coherence = means.coherence(rows)
    norms = np.linalg.norm(visits, axis=2).mean(0)
    np.testing.assert_allclose(coherence[:2], expected[:2] / norms[:2], 5e-3)
    assert coherence[2] == 0
    means.forget(rows[:1])
    assert means.response(rows).tolist()[0] == 0
    assert means.visits[rows].tolist() == [0, 5, 5]


def test_zero_rows_are_found_exactly() -> None:
    def spans_of(rows: list[list[float]]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        gradient: Tensor = torch.tensor([rows])
        found = RowScout().spans(gradient)
        return None if found is None else (found.starts, found.ends)

    assert spans_of([[0.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]) == ((1,), (2,))
    assert spans_of([[0.0, 1e-45], [0.0, 0.0]]) == ((0,), (1,))
    assert spans_of([[0.0, float("nan")], [-0.0, 0.0]]) == ((0,), (1,))
    assert spans_of([[0.0, 0.0], [0.0, 0.0]]) == ((0,), (0,))
    assert spans_of([[0.0, 1.0], [-1.0, 0.0]]) is None
