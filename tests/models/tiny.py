"""Tiny models with real tokenizers, built in code: what a folder from the hub holds, in 100 kB."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

# fmt: off
WORDS = [
    "the", "a", "this", "is", "was", "not", "very", "too", "dress", "coat", "shirt", "shoe", "size", "fit",
    "fits", "colour", "good", "bad", "lovely", "awful", "cheap", "small", "large", "soft", "rough", "love",
    "hate", "return", "keep", "wear",
]
# fmt: on
_LETTERS = list(string.ascii_lowercase + string.digits + ".,!?")


def build_tiny_bert(
    folder: Path,
    *,
    seed: int = 0,
    dropout: float = 0.0,
    num_labels: int | None = None,
    width: int = 32,
    layers: int = 2,
) -> Path:
    """Save a random BERT of two layers, width 32, 64 positions, and its WordPiece tokenizer.

    The tokenizer knows WORDS and spells everything else in ASCII letters and digits. With `num_labels`
    the folder has a classification head of that size, without it none. Returns `folder`.
    """
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary += [letter for letter in _LETTERS if letter not in WORDS]
    vocabulary += [f"##{letter}" for letter in _LETTERS]
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if num_labels is None:
            model: BertModel | BertForSequenceClassification = BertModel(config)
        else:
            config.num_labels = num_labels
            model = BertForSequenceClassification(config)
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)})
    _save(folder, model, tokenizer)
    return folder


def build_tiny_gpt2(folder: Path, *, seed: int = 0) -> Path:
    """Save a random GPT-2 of two layers with a tokenizer that, like the real one, has no padding token."""
    vocabulary = {token: index for index, token in enumerate(["<|endoftext|>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = vocabulary["<|endoftext|>"]
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GPT2Model(config)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    _save(folder, model, fast)
    return folder


def _save(
    folder: Path,
    model: BertModel | BertForSequenceClassification | GPT2Model,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if had_bars:
            transformers_logging.enable_progress_bar()
