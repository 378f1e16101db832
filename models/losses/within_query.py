"""Losses of the order within queries: scores (n,), grades (n,) and queries (n,) to losses (n,).

A query's loss L_q is divided among its n_q items here so that their sum is n_q · L_q. The mean over a batch
is then Σ_q n_q L_q ÷ Σ_q n_q: a query counts by its items, however the batches of a step are cut between
queries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pairwise_logistic(scores: Tensor, grades: Tensor, queries: Tensor) -> Tensor:
    """RankNet (Burges et al. 2005): L_q is the mean over the pairs i, j of q with grade_i > grade_j of

        log(1 + exp(score_j − score_i))

    Each pair counts half to either of its items. A query of one item or one grade has no pair and the loss 0.
    """
    same = queries[:, None] == queries
    pairs = (same & (grades[:, None] > grades)).to(scores.dtype)
    of_pair = functional.softplus(scores - scores[:, None]) * pairs
    of_item = (of_pair.sum(dim=1) + of_pair.sum(dim=0)) / 2
    items, pairs_of_query = same.sum(dim=1), same.to(scores.dtype) @ pairs.sum(dim=1)
    return of_item * items / pairs_of_query.clamp(min=1)


def listwise_top_one(scores: Tensor, grades: Tensor, queries: Tensor) -> Tensor:
    """ListNet by top-one probabilities (Cao et al. 2007): L_q = −Σ_i t_i log s_i over the items of q, with

        t_i = exp(grade_i) ÷ Σ_j exp(grade_j),  s_i = exp(score_i) ÷ Σ_j exp(score_j)

    It is lowest, at the entropy of t, where scores differ as grades do. A query of one item has the loss 0.
    """
    other = queries[:, None] != queries

    def logs(values: Tensor) -> Tensor:
        """(n,) log softmax within each query."""
        of_query = values.expand(len(values), -1).masked_fill(other, -torch.inf)
        return values - of_query.logsumexp(dim=1)

    items = (~other).sum(dim=1)
    return -logs(grades).exp() * logs(scores) * items
