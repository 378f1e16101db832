"""The models and batches that the gradient benchmark measures: random weights, real sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

BERT_SIZES: dict[str, dict[str, int]] = {
    "bert-4x256": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "minilm-6x384": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "bert-base": {},
}
MODELS = (*BERT_SIZES, "gpt2")


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "gpt2":
        model: nn.Module = GPT2ForSequenceClassification(GPT2Config(num_labels=2, pad_token_id=0))
    else:
        model = BertForSequenceClassification(BertConfig(num_labels=2, **BERT_SIZES[name]))
    return model.train()


def make_batch(batch: int, tokens: int, *, ragged: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Ragged: lengths spread evenly from a quarter of the longest to all of it."""
    generator = torch.Generator().manual_seed(tokens)
    ids = torch.randint(5, 30_000, (batch, tokens), generator=generator)
    lengths = torch.linspace(tokens / 4, tokens, batch).long() if ragged else torch.full((batch,), tokens)
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
    labels = torch.randint(0, 2, (batch,), generator=generator)
    return {"input_ids": ids * mask, "attention_mask": mask}, labels
