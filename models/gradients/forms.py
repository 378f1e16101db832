"""The forms a per-sample gradient takes, and their inner products without materialising them.

A parameter of shape ``S`` has per-sample gradients ``(batch, *S)``, too large to keep. A layer's backward
gives them factored, and every quantity needed here is an inner product of factored tensors:

==========  ======================================  ==========================================
form        per-sample gradient G_i                 from
==========  ======================================  ==========================================
Outer       sum_t b_it a_it^T, ``(out, in)``        Linear, Conv1D, convolutions (unfolded)
Lookup      sum_t e(token_it) b_it^T, ``(V, dim)``  Embedding; e(v) is the v-th unit vector
Vector      v_i, ``(*S)``                           biases, normalisation scales
==========  ======================================  ==========================================

A parameter used several times (tied embeddings, shared layers) has the sum of its uses' gradients, so
``|G|^2 = sum_u |G_u|^2 + 2 sum_{u<v} <G_u, G_v>``: hence ``inner`` between any two forms.

Source of the Gram form: Goodfellow, "Efficient per-example gradient computations", 2015; for sequences
Li et al., "Large language models can be strong differentially private learners", 2021.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from models.gradients.precision import row_dot, row_norm_sq, widened


class SampleGradient(ABC):
    """The gradients of one use of one parameter, factored, for every sample of the batch."""

    @abstractmethod
    def norm_sq(self) -> Tensor:
        """``|G_i|^2``, ``(batch,)``."""

    @abstractmethod
    def dot(self, direction: Tensor) -> Tensor:
        """``<G_i, direction>``, ``(batch,)``; ``direction`` has the parameter's shape."""

    @abstractmethod
    def materialised(self, shape: torch.Size) -> Tensor:
        """``(batch, *shape)``: the gradients themselves, for small parameters and tests."""


@dataclass(frozen=True, slots=True)
class VectorGradient(SampleGradient):
    """``values`` ``(batch, *S)`` are the per-sample gradients."""

    values: Tensor

    def norm_sq(self) -> Tensor:
        return row_norm_sq(self.values)

    def dot(self, direction: Tensor) -> Tensor:
        return widened(self.values.flatten(1)) @ widened(direction.flatten())

    def materialised(self, shape: torch.Size) -> Tensor:
        return self.values.reshape(-1, *shape)


@dataclass(frozen=True, slots=True)
class OuterGradient(SampleGradient):
    """``sum_t b_it a_it^T`` with ``a`` ``(batch, rows, in)`` and ``b`` ``(batch, rows, out)``.

    ``transposed`` says that the parameter is stored ``(in, out)``, as Conv1D of GPT-2 does.
    """

    a: Tensor
    b: Tensor
    transposed: bool = False

    @property
    def _distinct_a(self) -> Tensor:
        """``a`` once, where it is one input expanded to all samples."""
        return self.a[:1] if self.a.stride(0) == 0 else self.a

    def norm_sq(self) -> Tensor:
        a, b = widened(self._distinct_a), widened(self.b)
        return row_dot(torch.bmm(a, a.mT), torch.bmm(b, b.mT))

    def dot(self, direction: Tensor) -> Tensor:
        matrix = direction if self.transposed else direction.reshape(self.b.shape[2], -1).T
        return row_dot(self._distinct_a @ matrix.to(self.a.dtype), self.b)

    def materialised(self, shape: torch.Size) -> Tensor:
        product = torch.bmm(self.a.mT, self.b) if self.transposed else torch.bmm(self.b.mT, self.a)
        return product.reshape(-1, *shape)


@dataclass(frozen=True, slots=True)
class LookupGradient(SampleGradient):
    """``sum_t e(ids_it) b_it^T`` with ``ids`` ``(batch, rows)`` and ``b`` ``(batch, rows, dim)``.

    Rows whose id is ``padding_idx`` get no gradient from the embedding and do not count.
    """

    ids: Tensor
    b: Tensor
    padding_idx: int | None = None

    def norm_sq(self) -> Tensor:
        """The rows of each token of a sample are summed first: linear in the length of the sample."""
        batch, vocabulary = len(self.ids), int(self.ids.max()) + 1
        offsets = vocabulary * torch.arange(batch, device=self.ids.device).unsqueeze(1)
        tokens, position = torch.unique(self.ids + offsets, return_inverse=True)
        rows = widened(self.b).flatten(0, 1)
        if len(tokens) < len(rows):  # some token comes twice
            rows = rows.new_zeros(len(tokens), rows.shape[1]).index_add_(0, position.flatten(), rows)
        else:
            tokens = (self.ids + offsets).flatten()
        squares = row_norm_sq(rows)
        if self.padding_idx is not None:
            squares = squares.masked_fill_(tokens % vocabulary == self.padding_idx, 0.0)
        return squares.new_zeros(batch).index_add_(0, tokens // vocabulary, squares)

    @property
    def rows(self) -> Tensor:
        """b with the rows of the padding index set to zero."""
        if self.padding_idx is None:
            return self.b
        return self.b.masked_fill((self.ids == self.padding_idx).unsqueeze(2), 0.0)

    def dot(self, direction: Tensor) -> Tensor:
        return row_dot(direction[self.ids].to(self.b.dtype), self.rows)

    def materialised(self, shape: torch.Size) -> Tensor:
        table = self.b.new_zeros(len(self.ids), *shape)
        index = self.ids.unsqueeze(2).expand_as(self.b)
        return table.scatter_add_(1, index, self.rows)


def inner(left: SampleGradient, right: SampleGradient) -> Tensor:
    """``<G_i, H_i>`` for two uses of the same parameter, ``(batch,)``, in factored form."""
    if isinstance(left, VectorGradient) and isinstance(right, VectorGradient):
        return row_dot(left.values, right.values)
    if isinstance(left, OuterGradient) and isinstance(right, OuterGradient):
        return _inner_outer(left, right)
    if isinstance(left, LookupGradient) and isinstance(right, LookupGradient):
        same_token = (left.ids.unsqueeze(2) == right.ids.unsqueeze(1)).to(left.b.dtype)
        return row_dot(torch.bmm(widened(left.rows), widened(right.rows).mT), same_token)
    if isinstance(left, OuterGradient) and isinstance(right, LookupGradient):
        return _inner_outer_lookup(left, right)
    if isinstance(left, LookupGradient) and isinstance(right, OuterGradient):
        return _inner_outer_lookup(right, left)
    if isinstance(left, VectorGradient):  # a whole table beside another use of it
        return row_dot(left.values, right.materialised(left.values.shape[1:]))
    if isinstance(right, VectorGradient):
        return inner(right, left)
    raise TypeError(f"No inner product between {type(left).__name__} and {type(right).__name__}.")


def _inner_outer(left: OuterGradient, right: OuterGradient) -> Tensor:
    if left.transposed != right.transposed:
        right = OuterGradient(a=right.b, b=right.a)  # the same matrix, read as (in, out)
    grams_a = torch.bmm(widened(left.a), widened(right.a).mT)
    return row_dot(grams_a, torch.bmm(widened(left.b), widened(right.b).mT))


def _inner_outer_lookup(outer: OuterGradient, lookup: LookupGradient) -> Tensor:
    """The vocabulary axis is the outer form's ``b`` (a tied output head) or, transposed, its ``a``."""
    vocabulary, dim = (outer.a, outer.b) if outer.transposed else (outer.b, outer.a)
    index = lookup.ids.unsqueeze(1).expand(-1, vocabulary.shape[1], -1)
    at_tokens = vocabulary.gather(2, index)
    return row_dot(torch.bmm(widened(dim), widened(lookup.rows).mT), at_tokens)


def summed_norm_sq(uses: list[SampleGradient]) -> Tensor:
    """``|sum_u G_u|^2`` of one parameter, ``(batch,)``: the squares plus twice the cross terms."""
    total = torch.stack([use.norm_sq() for use in uses]).sum(0)
    for position, left in enumerate(uses):
        for right in uses[:position]:
            total = total + 2.0 * inner(left, right)
    return total.clamp_min(0.0)
