"""Where a classifier's last layer sees a text: what it reads there, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

HeadTensors = tuple[Tensor, Tensor]
"""Of a batch, on the model's device: (batch, width) float16, (batch, classes) float32."""
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class HeadViews:
    """Of n texts. hidden: (n, width) float16, what the last layer reads. logits: (n, classes) float32."""

    hidden: NDArray[np.float16]
    logits: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, positions: NDArray[np.int64] | NDArray[np.bool_]) -> HeadViews:
        return HeadViews(self.hidden[positions], self.logits[positions])

    @classmethod
    def joined(cls, parts: Sequence[HeadTensors]) -> HeadViews:
        """The device is waited for here, and not with each batch."""
        hidden, logits = (torch.cat(tensors).cpu().numpy() for tensors in zip(*parts, strict=True))
        return cls(hidden, logits)


class HeadReader:
    """Notes what goes into a classifier's last linear layer, while `watching`."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self._read: Tensor | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> HeadReader | None:
        """None of a model whose last layer is no linear map to the classes."""
        classes = model.config.num_labels
        layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
        return cls(layers[-1]) if layers else None

    def forget(self) -> None:
        """Lets go of what was read and not taken."""
        self._read = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        handle = self.layer.register_forward_pre_hook(self._note)
        try:
            yield
        finally:
            handle.remove()
            self._read = None

    def take(self, logits: Tensor, lengths: NDArray[np.int64]) -> HeadTensors | None:
        """What was read and said of the batch whose logits (batch, classes) the model has just put out. None
        where the layer did not run. lengths: (batch,) of its texts in tokens, padded on the right.

        A decoder's layer runs on every token: the last one of a text is what classifies it.
        """
        hidden, self._read = self._read, None
        if hidden is None:
            return None
        if hidden.dim() == 3:
            last = torch.from_numpy(lengths - 1).to(hidden.device)
            hidden = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return hidden.float().clamp(-_LARGEST, _LARGEST).half(), logits.detach().float()

    def _note(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._read = inputs[0].detach()


def with_bias_column(weight: Tensor, bias: Tensor | None) -> NDArray[np.float32]:
    """(classes, width + 1) of a layer's weight (classes, width) and bias (classes,), zeros without one."""
    column = torch.zeros_like(weight[:, 0]) if bias is None else bias
    return torch.cat([weight, column[:, None]], dim=1).float().cpu().numpy()
