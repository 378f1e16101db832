"""What a model computes once for the whole batch: relative positions, class tokens, raw parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTForImageClassification

from models.gradients import GradientObserver, SeededProjection
from models.gradients.twin import per_sample_gradients
from tests.models.gradients.checks import TOLERANCE, assert_close, check_losses, classification_losses
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier

RELATIVE = ("mpnet", "deberta-v2", "deberta-v2 projected")


def family_losses(model: nn.Module, family: str, lengths: list[int]) -> Callable[[], Tensor]:
    padding = CONFIGS[family].get("pad_token_id", 0)
    return classification_losses(model, *padded_batch(lengths, padding=padding))


@pytest.mark.parametrize("family", RELATIVE)
def test_relative_positions_have_a_fast_rule(family: str) -> None:
    model = tiny_classifier(family, torch.float64)
    with GradientObserver(model) as observer:
        family_losses(model, family, [5, 3])().sum().backward()
        observer.take()
    rules = {one.name: one.rule for one in observer.coverage}
    assert "exact-fallback" not in rules.values()
    tables = {name: rule for name, rule in rules.items() if "rel" in name}
    assert set(tables.values()) <= {"embedding", "batch-free"}
    assert tables


@pytest.mark.parametrize("family", RELATIVE)
def test_texts_of_another_length_than_the_first_ones(family: str) -> None:
    """What was learned from the first batch holds for the next ones, down to a single token."""
    model = tiny_classifier(family, torch.float64)
    with GradientObserver(model) as observer:
        for lengths in ([1], [9, 2, 4], [2, 2], [1, 1, 1]):
            losses = family_losses(model, family, lengths)
            losses().sum().backward()
            norms = observer.take().norms
            with observer.paused():
                assert_close(norms, per_sample_gradients(model, losses)[1], 1e-10, f"{lengths}")


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["deberta-v2", "deberta-v2 projected"])
def test_checkpointed_relative_attention(family: str) -> None:
    model = tiny_classifier(family, torch.float64)
    losses = family_losses(model, family, [6, 3, 5])
    _, expected = per_sample_gradients(model, losses)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with GradientObserver(model) as observer:
        losses().sum().backward()
        assert_close(observer.take().norms, expected, 1e-10, "norms")


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("family", RELATIVE)
def test_adapters_on_relative_attention(family: str) -> None:
    """The table is frozen here, and the adapters are applied both to it and to the batch."""
    torch.manual_seed(0)
    targets = ["q", "k"] if family == "mpnet" else ["query_proj", "key_proj", "pos_key_proj"]
    config = LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=targets)
    model = get_peft_model(tiny_classifier(family, torch.float64), config).double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    losses = family_losses(model, family, [6, 3, 5])
    check_losses(model, losses, torch.ones(3, dtype=torch.float64), tolerance=1e-10)


@pytest.mark.parametrize("frozen", ["rel_embeddings", "encoder.LayerNorm", "query_proj"])
def test_a_frozen_part_of_the_way_to_the_table(frozen: str) -> None:
    model = tiny_classifier("deberta-v2", torch.float64)
    for name, parameter in model.named_parameters():
        if frozen in name:
            parameter.requires_grad_(False)
    losses = family_losses(model, "deberta-v2", [6, 3, 5])
    check_losses(model, losses, torch.ones(3, dtype=torch.float64), tolerance=1e-10)


@pytest.mark.parametrize("family", RELATIVE)
def test_projections_of_a_table(family: str) -> None:
    model = tiny_classifier(family, torch.float64)
    losses = family_losses(model, family, [6, 3, 5])
    gradients, _ = per_sample_gradients(model, losses)
    with GradientObserver(model) as observer:
        observer.set_projection(SeededProjection(dim=32, seed=3))
        (losses() * 2.0).sum().backward()
        found = observer.take(2.0).projections
    again = SeededProjection(dim=32, seed=3)
    expected = torch.zeros(3, 32, dtype=torch.float64)
    for name, gradient in gradients.items():
        expected += again._of_values(name, gradient.shape[1:], gradient)
    assert found is not None
    assert_close(found, expected, 1e-6, "projections")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_vision_transformer(dtype: torch.dtype, batch: int) -> None:
    """Patches by Conv2d; the class token is expanded, the position table added, both without a module."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=8,
        patch_size=4,
        num_labels=3,
    )
    model = ViTForImageClassification(config).to(dtype).train()
    for parameter in model.parameters():
        if parameter.dim() != 2:
            nn.init.normal_(parameter, 0.5, 0.3)
    pixels, labels = torch.randn(batch, 3, 8, 8, dtype=dtype), torch.arange(batch) % 3

    def losses() -> Tensor:
        torch.manual_seed(7)
        return F.cross_entropy(model(pixel_values=pixels).logits, labels, reduction="none")

    check_losses(model, losses, torch.rand(batch, dtype=dtype) + 0.5, tolerance=TOLERANCE[dtype])
    with GradientObserver(model) as observer:
        losses().sum().backward()
        observer.take()
    rules = {one.name.rpartition(".")[2]: one.rule for one in observer.coverage}
    assert (rules["cls_token"], rules["position_embeddings"]) == ("batch-free", "batch-free")


class Biased(nn.Module):
    """A table that reaches the batch by one of the ways in which models do it."""

    def __init__(self, way: str, width: int) -> None:
        super().__init__()
        self.way = way
        self.layer = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.table = nn.Parameter(torch.empty(4, width))

    def forward(self, values: Tensor) -> Tensor:
        """values ``(batch, 4, width)``."""
        hidden: Tensor = self.layer(values)
        table = self.norm(self.project(self.table)).tanh()
        if self.way == "expand":
            return hidden * table.unsqueeze(0).expand(len(values), -1, -1)
        if self.way == "expand without a dimension":
            return hidden * table.expand(hidden.shape)
        if self.way == "repeat":
            return hidden * table.repeat(len(values), 1).view(hidden.shape)
        if self.way == "repeat with a new dimension":
            return hidden * table.repeat(len(values), 1, 1)
        if self.way == "broadcast":
            return hidden * table
        if self.way == "in place":
            hidden = hidden * 2.0
            hidden += table[None, :1]
            return hidden
        if self.way == "twice":
            return (hidden + table) * table[0] - table[2]
        return 2.0 - table / (hidden.square() + 1.0)


WAYS = (
    "expand",
    "expand without a dimension",
    "repeat",
    "repeat with a new dimension",
    "broadcast",
    "in place",
    "twice",
    "divided",
)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 6),
    width=st.integers(2, 5),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 99),
)
def test_every_way_to_the_batch(way: str, batch: int, width: int, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    model = Biased(way, width)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    model.to(dtype)
    inputs = torch.randn(batch, 4, width, dtype=dtype)

    def losses() -> Tensor:
        return model(inputs).pow(3).sum((1, 2))

    check_losses(model, losses, torch.rand(batch, dtype=dtype) + 0.1, tolerance=TOLERANCE[dtype])


class Shuffled(nn.Module):
    """The table is taken by the batch's own indices: no join that can be observed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.table = nn.Parameter(torch.randn(4, 3))

    def forward(self, values: Tensor) -> Tensor:
        chosen = values[..., 0].abs().mul(10).long() % 4
        output: Tensor = self.layer(values) * self.table[chosen]
        return output


def test_an_unknown_way_to_the_batch_falls_back() -> None:
    torch.manual_seed(0)
    model = Shuffled()
    inputs = torch.randn(4, 2, 3)

    def losses() -> Tensor:
        return model(inputs).pow(3).sum((1, 2))

    check_losses(model, losses, torch.rand(4) + 0.5, tolerance=1e-4, observer_options={"fallback": "exact"})
