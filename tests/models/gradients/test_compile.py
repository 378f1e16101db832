"""Models of torch.compile: observed modules are graph breaks, what lies between is compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gradients import GradientObserver
from models.gradients.twin import per_sample_gradients
from tests.models.gradients.checks import assert_close
from tests.models.gradients.families import CONFIGS, padded_batch, tiny_classifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # What torch itself says when it resumes after a graph break with a tensor that has a history.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]
LENGTHS = ([6, 3, 5, 6], [4, 7])


def losses_of(model: nn.Module, family: str, lengths: list[int]) -> Callable[[], Tensor]:
    inputs, labels = padded_batch(lengths, padding=CONFIGS[family].get("pad_token_id", 0))
    return lambda: F.cross_entropy(model(**inputs).logits, labels, reduction="none")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("family", "used_before", "rounds"), [("bert", True, 2), ("gpt2", False, 1), ("mpnet", False, 1)]
)
def test_a_compiled_model_is_observed_exactly(family: str, used_before: bool, rounds: int) -> None:
    model = tiny_classifier(family, torch.float64).eval()
    compiled = torch.compile(model, backend="aot_eager")
    if used_before:
        losses_of(compiled, family, LENGTHS[0])().sum().backward()
    for lengths in LENGTHS[:rounds]:
        _, expected = per_sample_gradients(model, losses_of(model, family, lengths))
        model.zero_grad()
        losses_of(model, family, lengths)().sum().backward()
        plain = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
        with GradientObserver(compiled) as observer:
            losses_of(compiled, family, lengths)().sum().backward()
            assert_close(observer.take().norms, expected, 1e-10, "norms")
        found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        assert_close(found, plain, 1e-10, "grad")
