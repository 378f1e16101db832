"""Texts to ragged token arrays, and token arrays to padded batches."""

from __future__ import annotations

from models.batching.batches import Collator, epoch_batches, length_sorted_batches
from models.batching.by_query import count_query_batches, query_batches
from models.batching.texts import LabelledTexts, TokenizedTexts
from models.batching.tokenizing import tokenize

__all__ = [
    "Collator",
    "LabelledTexts",
    "TokenizedTexts",
    "count_query_batches",
    "epoch_batches",
    "length_sorted_batches",
    "query_batches",
    "tokenize",
]
