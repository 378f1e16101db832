"""Every rule against one backward per sample, on shapes and values that Hypothesis chooses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

from models.gradients.outer import reduce_outer
from models.gradients.rows import Spans
from tests.models.gradients.checks import TOLERANCE, assert_close, check_losses

sizes = st.integers(1, 5)
widths = st.integers(2, 9)
dtypes = st.sampled_from([torch.float64, torch.float32])

RULES: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": nn.Linear,
    "linear-without-bias": lambda i, o: nn.Linear(i, o, bias=False),
    "gpt2-conv1d": lambda i, o: Conv1D(o, i),
    "layer-norm": lambda i, _: nn.LayerNorm(i),
    "layer-norm-without-bias": lambda i, _: nn.LayerNorm(i, bias=False),
    "rms-norm": lambda i, _: nn.RMSNorm(i),
}


class Between(nn.Module):
    """The layer under test between two others, so that gradients enter and leave it."""

    def __init__(self, layer: nn.Module, features: int) -> None:
        super().__init__()
        self.before = nn.Linear(features, features)
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = self.layer(self.before(values))
        return output


def losses(model: nn.Module, inputs: Tensor, mask: Tensor | None = None) -> Callable[[], Tensor]:
    """Nonlinear in every output; positions where the mask is zero get no gradient."""

    def of() -> Tensor:
        contributions = model(inputs).pow(3).flatten(2).sum(-1)
        return (contributions if mask is None else contributions * mask).sum(1)

    return of


def perturbed(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    return module.to(dtype)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=12, deadline=None)
@given(batch=sizes, rows=sizes, features=widths, outputs=widths, dtype=dtypes, seed=st.integers(0, 99))
def test_layer(
    rule: str, batch: int, rows: int, features: int, outputs: int, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    if "layer-norm" in rule and features == 2:
        features = (
            3  # two numbers are normalised to +1 and -1 whatever they are: the gradient is all rounding
        )
    model = perturbed(Between(RULES[rule](features, outputs), features), dtype)
    inputs = torch.randn(batch, rows, features, dtype=dtype)
    mask = (torch.rand(batch, rows) < 0.6).to(dtype)
    weights = torch.rand(batch, dtype=dtype) + 0.1
    check_losses(model, losses(model, inputs, mask), weights, tolerance=TOLERANCE[dtype])


@settings(max_examples=15, deadline=None)
@given(
    batch=sizes,
    rows=st.integers(1, 8),
    vocabulary=st.integers(2, 6),
    padding=st.sampled_from([None, 0, 1]),
    dtype=dtypes,
    seed=st.integers(0, 99),
)
def test_embedding_with_repeated_tokens(
    batch: int, rows: int, vocabulary: int, padding: int | None, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    table = perturbed(nn.Embedding(vocabulary, 4, padding_idx=padding), dtype)
    model = nn.Sequential(table, nn.Linear(4, 3, dtype=dtype))
    ids = torch.randint(0, vocabulary, (batch, rows))
    check_losses(model, losses(model, ids), torch.ones(batch, dtype=dtype), tolerance=TOLERANCE[dtype])


@settings(max_examples=20, deadline=None)
@given(
    batch=sizes,
    dimensions=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dtype=dtypes,
)
def test_convolution(
    batch: int, dimensions: int, groups: int, kernel: int, stride: int, padding: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(kernel)
    kind = nn.Conv1d if dimensions == 1 else nn.Conv2d
    first = kind(2, 4, kernel, stride, padding, groups=groups)
    model = perturbed(nn.Sequential(first, kind(4, 2, 1)), dtype)
    inputs = torch.randn(batch, 2, *[5] * dimensions, dtype=dtype)

    def of() -> Tensor:
        return model(inputs).pow(2).flatten(1).sum(1)

    check_losses(model, of, torch.ones(batch, dtype=dtype), tolerance=TOLERANCE[dtype])


def test_rms_norm_of_llama_is_found_by_its_structure() -> None:
    torch.manual_seed(0)
    model = perturbed(Between(LlamaRMSNorm(6), 6), torch.float32)
    inputs = torch.randn(3, 4, 6)
    check_losses(model, losses(model, inputs), torch.ones(3), tolerance=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5),
    inputs=st.sampled_from([1, 3, 40]),
    outputs=st.sampled_from([1, 5, 30]),
    with_direction=st.booleans(),
    use_spans=st.booleans(),
)
def test_every_form_of_a_product_gives_the_same(
    lengths: list[int], inputs: int, outputs: int, with_direction: bool, use_spans: bool
) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    a = torch.randn(len(lengths), 7, inputs, generator=generator, dtype=torch.float64)
    b = torch.randn(len(lengths), 7, outputs, generator=generator, dtype=torch.float64)
    b *= (torch.arange(7) < torch.tensor(lengths).unsqueeze(1)).unsqueeze(2)
    direction = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    spans = Spans((0,) * len(lengths), tuple(lengths), 7) if use_spans else None
    found = reduce_outer(a, b, direction if with_direction else None, spans=spans)
    products = b.mT @ a
    assert_close(found.total, products.sum(0), 1e-12, "total")
    assert_close(found.norm_sq, products.square().sum((1, 2)), 1e-12, "norm_sq")
    if with_direction:
        assert found.dots is not None
        assert_close(found.dots, (products * direction).sum((1, 2)), 1e-12, "dots")
