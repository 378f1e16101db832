"""Where texts lie before anything is trained: the mean of the last hidden states."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from models.batching import TokenizedTexts
from models.errors import ModelError
from models.reading import outputs_by_batch


def mean_embeddings(
    model: PreTrainedModel,
    tokens: TokenizedTexts,
    *,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """(n, hidden) means over each text's tokens of the model's last hidden states, at length 1.

    Dropout off, on the device that the model lies on; the model's mode is as before afterwards.
    `on_batch(done)` is called after each batch with the number of texts done so far. Raises ModelError
    `no_hidden_states` for a model that does not show them.
    """
    found: NDArray[np.float32] = np.zeros((len(tokens), 0), dtype=np.float32)
    done = 0
    with closing(outputs_by_batch(model, tokens, batch_size=batch_size, output_hidden_states=True)) as read:
        for batch, outputs in read:
            means = _means(outputs, tokens.lengths[batch])
            if found.shape[1] == 0:
                found = np.zeros((len(tokens), means.shape[1]), dtype=np.float32)
            found[batch] = means.cpu().numpy()
            done += len(batch)
            if on_batch is not None:
                on_batch(done)
    return found


def _means(outputs: object, lengths: NDArray[np.int64]) -> torch.Tensor:
    """(batch, hidden); padding stands on the right."""
    layers = getattr(outputs, "hidden_states", None) or getattr(outputs, "encoder_hidden_states", None)
    if not layers:
        raise ModelError(
            "no_hidden_states",
            "The model does not show its hidden states, which policy robust compares samples by.",
            "Choose another policy, such as seed, or another model.",
        )
    hidden = layers[-1].float()
    counts = torch.from_numpy(lengths).to(hidden.device)
    inside = torch.arange(hidden.shape[1], device=hidden.device)[None, :] < counts[:, None]
    means = (hidden * inside[..., None]).sum(dim=1) / counts[:, None]
    return torch.nn.functional.normalize(means, dim=1)
