"""Tiny random classifiers of every family that the product names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

_HIDDEN = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_DECODER = {**_HIDDEN, "num_key_value_heads": 1, "pad_token_id": 0, "max_position_embeddings": 32}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _HIDDEN | {"max_position_embeddings": 32},
    "roberta": _HIDDEN | {"max_position_embeddings": 34, "pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 32},
    "electra": _HIDDEN | {"embedding_size": 8, "max_position_embeddings": 32},
    "mpnet": _HIDDEN | {"max_position_embeddings": 34, "pad_token_id": 1},
    "modernbert": _HIDDEN
    | {"pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 4, "reference_compile": False},
    "deberta-v2": _HIDDEN
    | {
        "relative_attention": True,
        "position_buckets": 4,
        "max_relative_positions": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "max_position_embeddings": 32,
    },
    "deberta-v2 projected": _HIDDEN
    | {
        "relative_attention": True,
        "position_buckets": -1,
        "max_relative_positions": 8,
        "share_att_key": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": True,
        "conv_kernel_size": 3,
        "max_position_embeddings": 32,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "pad_token_id": 0},
    "llama": _DECODER,
    "qwen2": _DECODER,
}


def tiny_classifier(family: str, dtype: torch.dtype, **overrides: Any) -> nn.Module:
    torch.manual_seed(0)
    options = CONFIGS[family] | overrides
    config = AutoConfig.for_model(family.split()[0], vocab_size=40, num_labels=3, **options)
    model: nn.Module = AutoModelForSequenceClassification.from_config(config).to(dtype)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or parameter.dim() == 1:  # zeros and ones hide errors
            nn.init.normal_(parameter, 0.5, 0.3)
    return model.train()


def padded_batch(lengths: list[int], *, padding: int = 0, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """Few different words, so that many are repeated within a sample."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    ids = torch.randint(2, 12, (len(lengths), longest), generator=generator)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    labels = torch.randint(0, 3, (len(lengths),), generator=generator)
    return {"input_ids": ids.where(mask, padding), "attention_mask": mask.long()}, labels
