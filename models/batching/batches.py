"""Which texts go together, and how they become tensors."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.batching.texts import IntArray, TokenizedTexts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WINDOW_BATCHES = 50
_SMALLEST_NUMBER_OF_WINDOWS = 4


def epoch_batches(lengths: IntArray, batch_size: int, *, seed: int, epoch: int) -> list[IntArray]:
    """The batches of one epoch: arrays of positions, each position in exactly one of them.

    lengths: (n,). The positions are shuffled, cut into windows of up to 50 batches (at least four
    windows where there is enough, so that epochs differ), sorted by length within a window and cut
    into batches; then the order of the batches is shuffled. The same arguments give the same batches.
    After `group_by_length` of Hugging Face's Trainer. One batch is smaller where `batch_size` does
    not divide n.
    """
    count = len(lengths)
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(count)
    window_batches = min(_WINDOW_BATCHES, count // (batch_size * _SMALLEST_NUMBER_OF_WINDOWS))
    window = max(window_batches, 1) * batch_size
    batches: list[IntArray] = []
    for start in range(0, count, window):
        inside = shuffled[start : start + window]
        inside = inside[np.argsort(lengths[inside], kind="stable")]
        batches += [inside[i : i + batch_size] for i in range(0, len(inside), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def length_sorted_batches(lengths: IntArray, batch_size: int) -> list[IntArray]:
    """Batches for reading only: longest first, so that running out of memory shows at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@dataclass(frozen=True)
class Collator:
    """Pads texts to the batch's longest and builds only the inputs that the model's forward takes.

    Always on the right: a decoder's positions then do not depend on its batch mates.
    """

    pad_token_id: int
    takes_attention_mask: bool = True
    takes_token_type_ids: bool = True

    @classmethod
    def for_model(cls, model: PreTrainedModel) -> Collator:
        taken = signature(model.forward).parameters
        pad_token_id = model.config.pad_token_id
        if not isinstance(pad_token_id, int):
            raise TypeError(f"pad_token_id of {type(model).__name__} is {pad_token_id!r}, not an integer")
        return cls(pad_token_id, "attention_mask" in taken, "token_type_ids" in taken)

    def collate(
        self, tokens: TokenizedTexts, indices: IntArray, device: torch.device | None = None
    ) -> dict[str, torch.Tensor]:
        """The model's keyword arguments for the texts at `indices`: each (batch, longest) int64."""
        ids, mask, type_ids = tokens.padded(indices, self.pad_token_id)
        arrays = {"input_ids": ids}
        if self.takes_attention_mask:
            arrays["attention_mask"] = mask
        if self.takes_token_type_ids and type_ids is not None:
            arrays["token_type_ids"] = type_ids
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
