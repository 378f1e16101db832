"""Texts to token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.batching.texts import TokenizedTexts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    text_pairs: Sequence[str | None] | None,
    max_length: int,
    *,
    chunk_size: int = 1024,
    on_chunk: Callable[[int], None] | None = None,
) -> TokenizedTexts:
    """Tokenize texts, or texts with pairs, cut to `max_length` tokens, the longer of a pair first.

    A pair of None leaves that row a single text. `on_chunk(done)` is called after each chunk with the
    number of texts done so far: the place for progress, a heartbeat, or a raise that cancels. A text
    without any token (GPT-2's "") becomes one end-of-text token, since no model reads nothing.
    """
    pairs: Sequence[str | None] = text_pairs if text_pairs is not None else [None] * len(texts)
    if len(pairs) != len(texts):
        raise ValueError(f"{len(texts)} texts but {len(pairs)} pairs")
    ids: list[NDArray[np.int32]] = []
    type_ids: list[NDArray[np.uint8]] = []
    for start in range(0, len(texts), chunk_size):
        stop = min(start + chunk_size, len(texts))
        for row, row_types in _encode(tokenizer, texts[start:stop], pairs[start:stop], max_length):
            ids.append(np.asarray(row, dtype=np.int32))
            if row_types is not None:
                type_ids.append(np.asarray(row_types, dtype=np.uint8))
        if on_chunk is not None:
            on_chunk(stop)
    offsets = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in ids], out=offsets[1:])
    has_types = len(ids) > 0 and len(type_ids) == len(ids)
    return TokenizedTexts(
        np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        offsets,
        np.concatenate(type_ids) if has_types else None,
    )


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], pairs: Sequence[str | None], max_length: int
) -> list[tuple[list[int], list[int] | None]]:
    """Ids and type ids by row; rows with a pair and rows without are encoded apart."""
    rows: list[tuple[list[int], list[int] | None]] = [([], None)] * len(texts)
    has_pair = np.array([pair is not None for pair in pairs], dtype=bool)
    for wanted in (False, True):
        chosen = np.flatnonzero(has_pair == wanted).tolist()
        if not chosen:
            continue
        encoded = tokenizer(
            [texts[i] for i in chosen],
            [pairs[i] or "" for i in chosen] if wanted else None,
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
        )
        types = encoded.get("token_type_ids")
        for place, i in enumerate(chosen):
            rows[i] = (encoded["input_ids"][place], None if types is None else types[place])
    return [row if row[0] else ([_filler(tokenizer)], None if row[1] is None else [0]) for row in rows]


def _filler(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that stands for an empty text."""
    for token_id in (tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id):
        if isinstance(token_id, int):
            return token_id
    return 0
