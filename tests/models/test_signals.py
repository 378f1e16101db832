"""Signals of the forward pass against their formulas, written out plainly in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.signals import VisitSignals, free_signals


def expected_row(logits: list[float], label: int) -> tuple[float, float, float, float]:
    top = max(logits)
    total = sum(math.exp(value - top) for value in logits)
    p = [math.exp(value - top) / total for value in logits]
    loss = math.log(total) + top - logits[label]
    el2n = math.sqrt(sum((p[j] - (j == label)) ** 2 for j in range(len(p))))
    margin = logits[label] - max(value for j, value in enumerate(logits) if j != label)
    return loss, el2n, margin, p[label]


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    classes, count = draw(st.integers(2, 7)), draw(st.integers(1, 6))
    value = st.floats(-30, 30, width=32)
    logits = [draw(st.lists(value, min_size=classes, max_size=classes)) for _ in range(count)]
    return logits, [draw(st.integers(0, classes - 1)) for _ in range(count)]


@given(rows())
def test_signals_are_their_formulas(drawn: tuple[list[list[float]], list[int]]) -> None:
    logits, labels = drawn
    signals = free_signals(torch.tensor(logits), torch.tensor(labels))
    for i, (row, label) in enumerate(zip(logits, labels, strict=True)):
        loss, el2n, margin, confidence = expected_row(row, label)
        assert signals.loss[i].item() == pytest.approx(loss, rel=1e-4, abs=1e-5)
        assert signals.el2n[i].item() == pytest.approx(el2n, rel=1e-4, abs=1e-5)
        assert signals.margin[i].item() == pytest.approx(margin, rel=1e-5, abs=1e-5)
        assert signals.confidence[i].item() == pytest.approx(confidence, rel=1e-4, abs=1e-6)
        assert bool(signals.correct[i]) == (row.index(max(row)) == label)


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits = torch.tensor([[4.0, -4.0]], dtype=torch.float16, requires_grad=True)
    signals = free_signals(logits, torch.tensor([0]))
    assert signals.loss.dtype == torch.float32
    assert signals.loss.item() == pytest.approx(math.log1p(math.exp(-8.0)), rel=1e-3)
    assert not signals.loss.requires_grad


def test_one_class_has_no_margin() -> None:
    with pytest.raises(ValueError, match="two classes"):
        free_signals(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))


def test_micro_batches_are_joined_in_order_with_the_promised_types() -> None:
    parts = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])]
    labels = [torch.tensor([0]), torch.tensor([0, 1])]
    free = [free_signals(part, label) for part, label in zip(parts, labels, strict=True)]
    joined = VisitSignals.collect([np.array([7]), np.array([2, 5])], [torch.ones(1), 2 * torch.ones(2)], free)
    assert len(joined) == 3
    assert joined.positions.tolist() == [7, 2, 5]
    assert joined.grad_norm.tolist() == [1.0, 2.0, 2.0]
    assert joined.correct.tolist() == [False, True, True]
    assert (joined.positions.dtype.name, joined.grad_norm.dtype.name) == ("int64", "float64")
    assert {getattr(joined, name).dtype for name in ("loss", "el2n", "margin", "confidence")} == {
        np.dtype(np.float32)
    }
    assert joined.correct.dtype == np.bool_
