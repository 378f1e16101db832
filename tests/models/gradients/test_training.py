"""What a training loop does to a model: checkpoints, mixed precision, adapters, tied and shared layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F

from models.gradients import (
    GradientObserver,
    ObservationStateError,
    SeededProjection,
    UncoveredParameterError,
)
from models.gradients.twin import per_sample_gradients
from tests.models.gradients.checks import assert_close, check_losses, classification_losses
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier


# transformers 5 names it anew; the old name is the one that transformers 5.0 has too.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_gradient_checkpointing(family: str, reentrant: bool) -> None:
    plain = tiny_classifier(family, torch.float32)
    batch, labels = padded_batch([6, 3, 5])
    _, expected = per_sample_gradients(plain, classification_losses(plain, batch, labels))
    model = tiny_classifier(family, torch.float32)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    with GradientObserver(model) as observer:
        classification_losses(model, batch, labels)().sum().backward()
        norms = observer.take().norms
    assert_close(norms, expected, 1e-4, "norms")


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
def test_adapters_alone_are_observed() -> None:
    torch.manual_seed(0)
    config = LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=["query", "value"])
    model = get_peft_model(tiny_classifier("bert", torch.float64), config).double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    batch, labels = padded_batch([6, 3, 5])
    losses = classification_losses(model, batch, labels)
    check_losses(model, losses, torch.ones(3, dtype=torch.float64), tolerance=1e-10)
    covered = {one.name for one in GradientObserver(model).coverage}
    assert covered == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "classifier" in name for name in covered)


class TiedModel(nn.Module):
    """Input and output embeddings are one parameter, and one layer is applied twice."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 5, padding_idx=0)
        self.twice = nn.Linear(5, 5)
        self.head = nn.Linear(5, 9, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.twice(self.twice(self.tokens(input_ids)).tanh()))
        return logits


def test_tied_and_repeated_parameters_have_their_cross_terms() -> None:
    torch.manual_seed(0)
    model = TiedModel().double()
    ids = torch.randint(0, 9, (4, 6))

    def losses() -> Tensor:
        logits = model(input_ids=ids).flatten(0, 1)
        return F.cross_entropy(logits, ids.flatten(), reduction="none").view(4, 6).sum(1)

    check_losses(model, losses, torch.rand(4, dtype=torch.float64) + 0.5, tolerance=1e-10)


@pytest.mark.parametrize("family", ["bert", "gpt2", "mpnet", "deberta-v2", "modernbert"])
def test_a_score_depends_on_neither_batch_mates_nor_order_nor_padding(family: str) -> None:
    model = tiny_classifier(family, torch.float64).eval()
    batch, labels = padded_batch([9, 4, 6, 4], padding=CONFIGS[family].get("pad_token_id", 0))
    order = torch.tensor([2, 0, 3, 1])

    def norms_of(rows: Tensor, length: int) -> Tensor:
        part = {key: value[rows][:, :length] for key, value in batch.items()}
        with GradientObserver(model) as observer:
            F.cross_entropy(model(**part).logits, labels[rows], reduction="none").sum().backward()
            return observer.take().norms

    together = norms_of(torch.arange(4), 9)
    assert_close(norms_of(order, 9), together[order], 1e-10, "shuffled")
    assert_close(norms_of(torch.tensor([1]), 4), together[1:2], 1e-10, "alone, without padding")


class Scaled(nn.Module):
    """A parameter that belongs to no layer type."""

    def __init__(self, *, functional: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.matrix = nn.Parameter(torch.eye(3)) if not functional else None
        self.functional = functional

    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = self.layer(values)
        if self.matrix is not None:
            output = output @ self.matrix
        return F.linear(output, self.layer.weight) if self.functional else output


def _take_once(model: nn.Module, losses: Callable[[], Tensor]) -> None:
    with GradientObserver(model) as observer:
        losses().sum().backward()
        observer.take()


@pytest.mark.parametrize("functional", [False, True])
def test_what_no_rule_sees_is_refused_or_taken_the_slow_way(functional: bool) -> None:
    torch.manual_seed(0)
    model = Scaled(functional=functional)
    inputs = torch.randn(4, 2, 3)

    def losses() -> Tensor:
        return model(inputs).pow(3).sum((1, 2))

    name = "layer.weight" if functional else "matrix"
    with pytest.raises(UncoveredParameterError, match="fallback") as caught:
        _take_once(model, losses)
    assert set(caught.value.reasons) == {name}
    check_losses(model, losses, torch.rand(4) + 0.5, tolerance=1e-4, observer_options={"fallback": "exact"})


@pytest.mark.parametrize("functional", [False, True])
def test_projections_with_the_fallback(functional: bool) -> None:
    torch.manual_seed(0)
    model = Scaled(functional=functional)
    inputs = torch.randn(4, 2, 3)

    def losses() -> Tensor:
        return model(inputs).pow(3).sum((1, 2))

    gradients, _ = per_sample_gradients(model, losses)
    projection = SeededProjection(dim=32, seed=3)
    expected = torch.zeros(4, 32)
    for name, gradient in gradients.items():
        expected += projection._of_values(name, gradient.shape[1:], gradient)
    with GradientObserver(model, fallback="exact") as observer:
        observer.set_projection(SeededProjection(dim=32, seed=3))
        for _ in range(2):
            losses().sum().backward()
            found = observer.take().projections
            assert found is not None
            assert_close(found, expected, 1e-5, "projections")


def test_a_backward_that_was_not_taken_is_noticed() -> None:
    model = tiny_classifier("bert", torch.float32)
    batch, labels = padded_batch([4, 3])
    losses = classification_losses(model, batch, labels)
    with GradientObserver(model) as observer:
        losses().sum().backward()
        with pytest.raises(ObservationStateError, match="before the last backward was taken"):
            losses()
        observer.discard()
        with observer.paused():
            losses().sum().backward()
        losses().sum().backward()
        assert observer.take().norms.shape == (2,)


def test_frozen_layers_cost_nothing_and_are_not_covered() -> None:
    model = tiny_classifier("bert", torch.float64)
    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.layer[0].attention.self.query.weight.requires_grad_(False)
    batch, labels = padded_batch([5, 3, 4])
    losses = classification_losses(model, batch, labels)
    result = check_losses(model, losses, torch.ones(3, dtype=torch.float64), tolerance=1e-10)
    assert not any("embeddings" in group for group in result.norms_sq_by_group)
