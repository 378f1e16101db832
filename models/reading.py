"""What a model puts out for many texts, batch by batch."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from models.batching import Collator, TokenizedTexts, length_sorted_batches


@torch.no_grad()
def outputs_by_batch(
    model: PreTrainedModel,
    tokens: TokenizedTexts,
    *,
    batch_size: int = 32,
    autocast_dtype: torch.dtype | None = None,
    **asked: Any,
) -> Generator[tuple[NDArray[np.int64], Any], None, None]:
    """(positions of a batch in `tokens`, the model's outputs for it), in batches of similar length.

    Dropout off, on the device that the model lies on; the model's mode is as before when the iterator is
    used up or closed. asked: handed to the model, such as `output_hidden_states=True`.
    """
    collator = Collator.for_model(model)
    was_training = model.training
    model.eval()
    try:
        for batch in length_sorted_batches(tokens.lengths, batch_size):
            inputs = collator.collate(tokens, batch, model.device)
            with torch.autocast(model.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
                outputs = model(**inputs, **asked)
            yield batch, outputs
    finally:
        model.train(was_training)
