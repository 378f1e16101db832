"""Which rows of a gradient are not zero, so that the others cost nothing.

Padding gets no gradient, and above a classifier that reads one token only that token gets any: in the last
layers of an encoder most rows are exactly zero. What is skipped is exactly zero, so nothing is approximated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from models.gradients.native import kernels_for
from models.gradients.precision import accumulator_dtype

_COMPACT_BELOW = 0.4  # of the rows: then gathering them costs less than it saves
_LOOKS_WHEN_FULL = 4  # a layer's query, key, value and output differ; after as many full ones stop looking
_GLANCE = 16  # columns that settle it for almost every row that is not zero


@dataclass(frozen=True)
class Spans:
    """Per sample, the rows ``starts[i]:ends[i]`` that may be non-zero, of ``(batch, length, features)``."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    length: int

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        return tuple(end - start for start, end in zip(self.starts, self.ends, strict=True))

    @property
    def are_all(self) -> bool:
        return sum(self.lengths) == self.length * len(self.lengths)

    @property
    def are_few(self) -> bool:
        return sum(self.lengths) < _COMPACT_BELOW * self.length * len(self.lengths)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """``starts`` and ``ends`` as int32 ``(batch,)``."""
        return torch.tensor(self.starts, dtype=torch.int32), torch.tensor(self.ends, dtype=torch.int32)

    @cached_property
    def flat_index(self) -> Tensor:
        """Of the spans' rows in ``(batch * length, features)``, sample by sample."""
        pieces = [
            torch.arange(sample * self.length + start, sample * self.length + end)
            for sample, (start, end) in enumerate(zip(self.starts, self.ends, strict=True))
        ]
        return torch.cat(pieces)

    def segments(self, values: Tensor) -> list[Tensor]:
        """The spans as views of ``(batch, length, features)``: one ``(rows_i, features)`` each."""
        bounds = zip(values.unbind(0), self.starts, self.ends, strict=True)
        return [sample[start:end] for sample, start, end in bounds]

    @cached_property
    def sample_index(self) -> Tensor:
        """Of each of the spans' rows, its sample."""
        return torch.repeat_interleave(torch.tensor(self.lengths))

    def summed(self, rows: Tensor) -> Tensor:
        """Gathered rows summed within each sample: ``(batch, features)``, float32 at least."""
        rows = rows.to(accumulator_dtype(rows.dtype))
        return rows.new_zeros(len(self.lengths), rows.shape[1]).index_add_(0, self.sample_index, rows)

    def gathered(self, values: Tensor) -> Tensor:
        """A copy of the spans' rows, ``(sum of lengths, features)``."""
        return values.reshape(-1, values.shape[-1]).index_select(0, self.flat_index)


@dataclass(frozen=True, slots=True)
class Look:
    """What was found out about a gradient ``(batch, length, features)``.

    spans: the rows that are not zero, or None when all are to be used. sums: ``(batch, features)`` over all
    rows, float32 at least.
    """

    spans: Spans | None
    sums: Tensor


class RowScout:
    """Looks at one backward pass's gradients, and stops looking for zeros where there are none to find."""

    def __init__(self) -> None:
        self._full_in_a_row = 0

    def look(self, gradient: Tensor) -> Look:
        """At ``(batch, length, features)``."""
        kernels = kernels_for(gradient)
        if kernels is None:
            return Look(self.spans(gradient), gradient.sum(1, dtype=accumulator_dtype(gradient.dtype)))
        scan = kernels.rows(gradient)
        spans = Spans(tuple(scan.starts.tolist()), tuple(scan.ends.tolist()), gradient.shape[1])
        return Look(None if spans.are_all else spans, scan.sums)

    def spans(self, gradient: Tensor) -> Spans | None:
        """Of ``(batch, length, features)``; None when all rows are to be used."""
        if gradient.shape[1] == 1 or gradient.is_cuda or self._full_in_a_row >= _LOOKS_WHEN_FULL:
            return None
        glance = gradient[..., :_GLANCE].ne(0).any(-1)
        if bool(glance.all()) or bool((active := _active(gradient)).all()):
            self._full_in_a_row += 1
            return None
        self._full_in_a_row = 0
        return _spans_of(active)


def _active(gradient: Tensor) -> Tensor:
    """Which rows are not all zero, ``(batch, length)``; a NaN is not zero: it must show."""
    return (gradient.amax(-1) != 0) | (gradient.amin(-1) != 0)


def _spans_of(active: Tensor) -> Spans:
    """``active`` ``(batch, length)``; a sample without any active row gets the empty span 0:0."""
    length = active.shape[1]
    some = active.any(1).long()
    starts = active.long().argmax(1) * some
    ends = (length - active.flip(1).long().argmax(1)) * some
    return Spans(tuple(starts.tolist()), tuple(ends.tolist()), length)
