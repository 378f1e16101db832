"""Tokenized texts, ragged and flat, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class TokenizedTexts:
    """n texts as one flat array: text i is `ids[offsets[i]:offsets[i + 1]]`.

    ids: (total,) int32. offsets: (n + 1,) int64, `offsets[0] == 0`. type_ids: (total,) uint8, which
    of two texts a token belongs to, or None where the tokenizer does not say.
    """

    ids: NDArray[np.int32]
    offsets: IntArray
    type_ids: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """(n,) tokens a text."""
        return np.diff(self.offsets)

    def lengths_of(self, indices: IntArray) -> IntArray:
        """(m,) tokens of the texts at `indices` (m,)."""
        return self.offsets[indices + 1] - self.offsets[indices]

    def take(self, indices: IntArray) -> TokenizedTexts:
        """The texts at `indices` (m,), in that order."""
        places = self._places(indices)
        offsets = np.concatenate(([0], np.cumsum(self.lengths_of(indices)))).astype(np.int64)
        type_ids = None if self.type_ids is None else self.type_ids[places]
        return TokenizedTexts(self.ids[places], offsets, type_ids)

    def _places(self, indices: IntArray) -> IntArray:
        """Where the tokens of `indices` lie in the flat arrays, one text after the other."""
        lengths = self.lengths_of(indices)
        ends = np.cumsum(lengths)
        starts_there = np.repeat(self.offsets[indices], lengths)
        starts_here = np.repeat(ends - lengths, lengths)
        return starts_there + np.arange(len(starts_here)) - starts_here

    def padded(self, indices: IntArray, pad: int) -> tuple[IntArray, IntArray, IntArray | None]:
        """Ids, mask and type ids of `indices` (m,), each (m, longest), padded on the right."""
        lengths = self.lengths_of(indices)
        filled = np.arange(lengths.max())[None, :] < lengths[:, None]
        places = self._places(indices)
        ids = np.full(filled.shape, pad, dtype=np.int64)
        ids[filled] = self.ids[places]
        if self.type_ids is None:
            return ids, filled.astype(np.int64), None
        type_ids = np.zeros(filled.shape, dtype=np.int64)
        type_ids[filled] = self.type_ids[places]
        return ids, filled.astype(np.int64), type_ids


@dataclass(frozen=True)
class LabelledTexts:
    """tokens of n texts and their class indices, labels: (n,) int64.

    queries: (n,) int64 codes of the queries that they belong to, None where there are none.
    """

    tokens: TokenizedTexts
    labels: IntArray
    queries: IntArray | None = None

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.labels):
            raise ValueError(f"{len(self.tokens)} texts but {len(self.labels)} labels")
        if self.queries is not None and len(self.queries) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.queries)} queries")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def codes(self) -> IntArray:
        """(n,) of the queries; without any, each sample is one of its own."""
        return np.arange(len(self)) if self.queries is None else self.queries

    def take(self, indices: IntArray) -> LabelledTexts:
        """The samples at `indices` (m,), in that order."""
        queries = None if self.queries is None else self.queries[indices]
        return LabelledTexts(self.tokens.take(indices), self.labels[indices], queries)
