"""Which modules do not follow the batch, found once by running two small batches of different size.

A tensor's first dimension alone does not tell: relative position ids ``(seq, seq)`` look like a batch when
the batch happens to have as many samples as each has tokens, and would be scored wrongly without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.gradients.recorder import Recorder
from models.gradients.rules import Site

_SIZES = (2, 3)


def batch_free_sites(
    model: nn.Module, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int
) -> set[Site]:
    """Sites that some call applies to a tensor whose first dimension is not the batch.

    Runs the model on its first sample, repeated, and drops the output; random state is left as it was.
    """
    found: set[Site] = set()
    devices = {p.device.index or 0 for p in model.parameters() if p.is_cuda}
    for size in _SIZES:
        resize = _resizer(batch, size)
        with recorder.taking_census() as census, torch.random.fork_rng(devices):
            model(*map(resize, args), **{name: resize(value) for name, value in kwargs.items()})
        for site, lengths in census.items():
            if not all(site.rule.follows_batch(length, size) for length in lengths):
                found.add(site)
    return found


def _resizer(batch: int, size: int) -> Callable[[Any], Any]:
    def resize(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() > 0 and len(value) == batch:
            return value[:1].repeat(size, *[1] * (value.dim() - 1))
        return value

    return resize
