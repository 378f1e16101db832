"""Losses of grades against formulas written out item by item and pair by pair, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.errors import ModelError
from models.losses import LOSSES, GradedLoss
from models.losses.graded import ANCHOR, require_order
from models.losses.pointwise import (
    cross_entropy,
    expected_grade,
    log_odds_of_grade,
    ranked_ignorance,
    squared_error,
)
from models.losses.within_query import listwise_top_one, pairwise_logistic

GRADED = [name for name in LOSSES if name != "cross_entropy"]
GRADES = [2.0, 0.0, 1.0, 3.5]


def case(seed: int = 0, n: int = 9, grades: int = 4, queries: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, grades), labels and queries (n,), the last query of one item."""
    torch_rng, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    logits = 2 * torch.randn(n, grades, generator=torch_rng, dtype=torch.float64)
    codes = np.append(rng.integers(0, queries, n - 1), queries)
    return logits, torch.from_numpy(rng.integers(0, grades, n)), torch.from_numpy(codes)


def by_pair(scores: Tensor, grades: Tensor, queries: Tensor) -> float:
    """Σ_q n_q · mean over pairs, in plain Python."""
    total = 0.0
    for query in set(queries.tolist()):
        items = [i for i, code in enumerate(queries.tolist()) if code == query]
        pairs = [(i, j) for i in items for j in items if grades[i] > grades[j]]
        if pairs:
            losses = [math.log1p(math.exp(float(scores[j] - scores[i]))) for i, j in pairs]
            total += len(items) * sum(losses) / len(losses)
    return total


def by_list(scores: Tensor, grades: Tensor, queries: Tensor) -> float:
    """Σ_q n_q · cross-entropy of the two softmaxes, query by query."""
    total = 0.0
    for query in set(queries.tolist()):
        inside = queries == query
        wanted, said = grades[inside].softmax(0), scores[inside].softmax(0)
        total += float(-(wanted * said.log()).sum() * inside.sum())
    return total


def test_squared_error_and_ranked_ignorance_item_by_item() -> None:
    logits, labels, _ = case()
    grades = torch.tensor(GRADES, dtype=torch.float64)
    for i, probabilities in enumerate(logits.softmax(1).tolist()):
        grade = GRADES[labels[i]]
        expected = sum(p * g for p, g in zip(probabilities, GRADES, strict=True))
        ignorance = 0.0
        for threshold in sorted(GRADES)[:-1]:
            over = sum(p for p, g in zip(probabilities, GRADES, strict=True) if g > threshold)
            ignorance -= math.log(over if grade > threshold else 1 - over)
        odds = math.log((expected - 0.0) / (3.5 - expected))
        assert float(squared_error(logits, labels, grades)[i]) == pytest.approx((expected - grade) ** 2)
        assert float(ranked_ignorance(logits, labels, grades)[i]) == pytest.approx(ignorance)
        assert float(log_odds_of_grade(logits, grades)[i]) == pytest.approx(odds)


def test_of_two_grades_ordinal_is_cross_entropy_and_the_log_odds_are_those_of_the_logits() -> None:
    logits, labels, _ = case(grades=2)
    grades = torch.tensor([4.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(ranked_ignorance(logits, labels, grades), cross_entropy(logits, labels))
    torch.testing.assert_close(log_odds_of_grade(logits, grades), logits[:, 0] - logits[:, 1])


@pytest.mark.parametrize(
    ("loss", "slow"), [(pairwise_logistic, by_pair), (listwise_top_one, by_list)], ids=["pairs", "lists"]
)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(1, 12), queries=st.integers(1, 4))
def test_losses_within_queries_against_loops(
    loss: Callable[..., Tensor], slow: Callable[..., float], seed: int, n: int, queries: int
) -> None:
    """And whole queries may lie in any batch, in any order."""
    logits, labels, codes = case(seed, n, queries=queries)
    grades = torch.tensor(GRADES, dtype=torch.float64)
    scores, given_grades = expected_grade(logits, grades), grades[labels]
    losses = loss(scores, given_grades, codes)
    assert float(losses.sum()) == pytest.approx(slow(scores, given_grades, codes))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    shuffled = loss(scores[order], given_grades[order], codes[order])
    torch.testing.assert_close(shuffled, losses[order])
    first = codes == codes[0]
    torch.testing.assert_close(loss(scores[first], given_grades[first], codes[first]), losses[first])


def test_what_each_loss_scores_items_by() -> None:
    logits, labels, queries = case()
    grades = torch.tensor(GRADES, dtype=torch.float64)
    expected, odds = expected_grade(logits, grades), log_odds_of_grade(logits, grades)
    sums = {
        "mse": float((expected - grades[labels]).square().sum()),
        "pairwise": by_pair(odds, grades[labels], queries),
        "listwise": by_list(expected, grades[labels], queries),
    }
    anchor = ANCHOR * float(cross_entropy(logits, labels).sum())
    for name, wanted in sums.items():
        found = GradedLoss(name, GRADES)(logits, labels, queries).sum()
        assert float(found) == pytest.approx(wanted + anchor), name


@pytest.mark.parametrize("name", GRADED)
def test_gradients(name: str) -> None:
    logits, labels, queries = case()
    loss = GradedLoss(name, GRADES)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, queries), logits.requires_grad_())


@pytest.mark.parametrize("name", GRADED)
@pytest.mark.parametrize("size", [0.0, 300.0])
def test_a_model_that_is_very_sure_has_finite_losses_and_gradients(name: str, size: float) -> None:
    """In float32, as it trains: sure of the right grade, and of the wrong one."""
    logits = (size * torch.eye(4)).requires_grad_()
    for labels in (torch.arange(4), torch.arange(4).flip(0)):
        losses = GradedLoss(name, GRADES)(logits, labels, torch.zeros(4, dtype=torch.int64))
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert torch.isfinite(losses).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", GRADED)
def test_the_mean_over_a_split_is_that_of_its_losses(name: str) -> None:
    logits, labels, queries = case(n=40, queries=7)
    loss = GradedLoss(name, GRADES)
    mean = loss.mean(logits.float().numpy(), labels.numpy(), queries.numpy())
    assert mean == pytest.approx(float(loss(logits, labels, queries).mean()), rel=1e-6)


def test_lowest_where_they_should_be() -> None:
    """ListNet where the model expects the very grades; a lone item teaches its class alone."""
    grades = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    same = torch.zeros(3, dtype=torch.int64)
    at_the_grades = listwise_top_one(grades + 5.0, grades, same).sum()
    assert all(
        listwise_top_one(grades * stretch, grades, same).sum() > at_the_grades for stretch in (0.9, 1.1)
    )
    logits, labels, _ = case(n=4)
    alone = GradedLoss("pairwise", GRADES)(logits, labels, torch.arange(4))
    torch.testing.assert_close(alone, ANCHOR * cross_entropy(logits, labels))


def test_what_has_no_grades_or_no_order_is_refused() -> None:
    for grades in ((), (1.0,), (1.0, 1.0)):
        with pytest.raises(ModelError) as caught:
            GradedLoss("mse", grades)
        assert caught.value.code == "loss_needs_grades"
    labels = np.array([0, 1, 0, 1])
    require_order("pairwise", labels, np.array([0, 0, 1, 2]))
    require_order("mse", labels, None)
    for queries in (None, np.arange(4), np.array([0, 1, 0, 1])):
        with pytest.raises(ModelError) as caught:
            require_order("listwise", labels, queries)
        assert caught.value.code == "nothing_to_rank"
