"""Losses of one item's grade: logits (n, grades) to losses (n,).

`grades` (grades,) are the classes' values, distinct, in any order.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def expected_grade(logits: Tensor, grades: Tensor) -> Tensor:
    """(n,) E_i = Σ_c p_ic · grade_c under the softmax of logits (n, grades)."""
    return logits.softmax(dim=1) @ grades


def log_odds_of_grade(logits: Tensor, grades: Tensor) -> Tensor:
    """(n,) log (E − lowest) − log (highest − E), where E is the expected grade.

    Orders items as E does and has no bounds; of two grades it is the difference of their logits. The
    softmax's denominator cancels, so nothing is rounded to the lowest or the highest grade:

        log Σ_c exp(logit_c) (grade_c − lowest)  −  log Σ_c exp(logit_c) (highest − grade_c)
    """
    above, below = grades - grades.min(), grades.max() - grades
    return _weighted_logsumexp(logits, above) - _weighted_logsumexp(logits, below)


def squared_error(logits: Tensor, labels: Tensor, grades: Tensor) -> Tensor:
    """(E_i − grade_i)², in squared grades."""
    return (expected_grade(logits, grades) - grades[labels]).square()


def ranked_ignorance(logits: Tensor, labels: Tensor, grades: Tensor) -> Tensor:
    """−Σ_k log of the probability given to what happened at threshold k: "over it" or "not", in nats.

    The k run over all grades but the highest; P(over k) is the sum of the softmax over the higher grades. The
    ranked ignorance score, a proper scoring rule (Tödter and Ahrens 2012): the ranked probability score
    (Epstein 1969) with the logarithm in place of the square, whose gradient does not vanish where the model
    is sure and wrong. Only the order of the grades counts, not their distance; of two grades it is
    cross-entropy.
    """
    thresholds = grades.sort().values[:-1]
    higher = grades > thresholds[:, None]
    logs = logits.log_softmax(dim=1)[:, None]
    over = logs.masked_fill(~higher, -torch.inf).logsumexp(dim=2)
    not_over = logs.masked_fill(higher, -torch.inf).logsumexp(dim=2)
    return -torch.where(grades[labels][:, None] > thresholds, over, not_over).sum(dim=1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p of the label, in nats."""
    return functional.cross_entropy(logits, labels, reduction="none")


def _weighted_logsumexp(logits: Tensor, weights: Tensor) -> Tensor:
    """(n,) log Σ_c exp(logit_c) · weight_c over the weights (grades,) above 0."""
    used = weights > 0
    return (logits[:, used] + weights[used].log()).logsumexp(dim=1)
