"""A BERT of which the last layer and the head train, fast: what enters the last layer is computed once.

`ScoringRun` on the whole model would read the frozen layers anew in every epoch. It gets a model whose
embedding table is those hidden states and whose token ids are places in it, and which computes the first
token alone in its only layer, since the head reads no other: the same function of the trained weights, with
the same gradients. The frozen layers' dropout is off.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from models.batching import TokenizedTexts
from models.encoders import LoadedClassifier
from models.reading import outputs_by_batch


class HiddenStates(nn.Module):
    """In the place of the embeddings: what enters the last layer, by its place.

    table: (tokens of all texts, hidden) float16, frozen.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding.from_pretrained(table, freeze=True)

    def forward(self, input_ids: Tensor, **_unused: object) -> Tensor:
        """(batch, longest) places to (batch, longest, hidden) float32."""
        hidden: Tensor = self.word_embeddings(input_ids)
        return hidden.float()


class FirstTokenLayer(nn.Module):
    """A BertLayer that computes the first token alone, (batch, 1, hidden), from (batch, longest, hidden)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor, mask: Tensor | None, *_decoders: object, **_unused: object) -> Tensor:
        inner = self.layer.attention.self
        query, key, value = (
            part.unflatten(-1, (inner.num_attention_heads, -1)).transpose(1, 2)
            for part in (inner.query(hidden[:, :1]), inner.key(hidden), inner.value(hidden))
        )
        read = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[..., :1, :],
            dropout_p=inner.dropout.p if self.training else 0.0,
        )
        attended = self.layer.attention.output(read.transpose(1, 2).flatten(2), hidden[:, :1])
        found: Tensor = self.layer.output(self.layer.intermediate(attended), attended)
        return found


def entering_last_layer(model: PreTrainedModel, tokens: TokenizedTexts) -> NDArray[np.float16]:
    """(tokens of all texts, hidden), in the order of `tokens.ids`."""
    table = np.zeros((len(tokens.ids), model.config.hidden_size), dtype=np.float16)
    for batch, outputs in outputs_by_batch(model, tokens, batch_size=64, output_hidden_states=True):
        hidden = outputs.hidden_states[-2].numpy()
        for row, length, start in zip(hidden, tokens.lengths[batch], tokens.offsets[batch], strict=True):
            table[start : start + length] = row[:length]
    return table


def places(tokens: TokenizedTexts) -> TokenizedTexts:
    """The texts as rows of the table."""
    return TokenizedTexts(np.arange(len(tokens.ids), dtype=np.int32), tokens.offsets)


def keep_last_layer(classifier: LoadedClassifier, table: NDArray[np.float16]) -> None:
    """Turn a loaded BERT, in place, into one that reads `places` and trains what comes after the table."""
    bert = classifier.model.base_model
    bert.embeddings = HiddenStates(torch.from_numpy(table))
    bert.encoder.layer = nn.ModuleList([FirstTokenLayer(bert.encoder.layer[-1])])
