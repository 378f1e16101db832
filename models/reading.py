"""What a model puts out for many texts, batch by batch."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from models.batching import Collator, TokenizedTexts, length_sorted_batches
from models.memory import halving


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
    used up or closed. asked: handed to the model, such as `output_hidden_states=True`. Where memory does not
    suffice, batches are halved. Raises ModelError `out_of_memory`.
    """
    collator = Collator.for_model(model)
    size = batch_size

    def outputs_of(batch: NDArray[np.int64], rows: int) -> Any:
        """Of its first rows."""
        inputs = collator.collate(tokens, batch[:rows], model.device)
        with torch.autocast(model.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
            return model(**inputs, **asked)

    was_training = model.training
    model.eval()
    try:
        for batch in length_sorted_batches(tokens.lengths, batch_size):
            left = batch
            while len(left):
                wanted = min(size, len(left))
                outputs, read = halving(partial(outputs_of, left), wanted)
                size = read if read < wanted else size
                yield left[:read], outputs
                left = left[read:]
    finally:
        model.train(was_training)
