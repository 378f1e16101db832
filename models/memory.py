"""What to do when the memory of a device does not suffice: the same work in smaller parts."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import ModelError

T = TypeVar("T")
Ints = NDArray[np.int64]
_SAID = (
    "DefaultCPUAllocator",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""In RuntimeErrors of allocators that raise no torch.OutOfMemoryError."""
REMEDY = "Lower max_length, choose a smaller model or adapters, or give the worker more memory."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)


def halving(
    attempt: Callable[[int], T], size: int, tidy: Callable[[], object] = lambda: None
) -> tuple[T, int]:
    """`attempt(size)`, where memory does not suffice with half the size, down to 1; and the size that did.

    tidy: undoes what an attempt that failed has left.

    Raises:
        ModelError: `out_of_memory`, one sample at a time is still too much.
    """
    while True:
        try:
            return attempt(size), size
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).partition("\n")[0][:300]
        # Only here, without the error, whose traceback holds all that the attempt had allocated.
        tidy()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size <= 1:
            raise ModelError("out_of_memory", f"One sample at a time needs more memory: {said}", REMEDY)
        size = -(-size // 2)


@dataclass
class MicroBatch:
    """How many samples of a job go through its model at a time when it trains.

    size: None as long as memory suffices for what was asked; it only ever falls. on_shrink: told the new one.
    """

    size: int | None = None
    on_shrink: Callable[[int], object] = lambda _: None

    def fit(self, largest: int, attempt: Callable[[int], T], tidy: Callable[[], object]) -> T:
        """`attempt(size)` with no more than `largest` samples at a time; see `halving`."""
        size = largest if self.size is None else min(self.size, largest)
        found, fitted = halving(attempt, size, tidy)
        if fitted < size:
            self.size = fitted
            self.on_shrink(fitted)
        return found

    def lower(self, size: int | None) -> None:
        """To what an earlier attempt has come to."""
        if size is not None:
            self.size = size if self.size is None else min(self.size, size)


def cut(batch: Ints, size: int, queries: Ints | None = None) -> list[Ints]:
    """A batch (n,) in as few parts of at most `size` as there can be, as equal as they can be.

    queries: (n,) codes of the samples in the batch; then no query is cut, a large one is a part by itself.
    """
    if len(batch) <= size:
        return [batch]
    if queries is None:
        return list(np.array_split(batch, -(-len(batch) // size)))
    edges = np.flatnonzero(np.diff(queries)) + 1
    parts: list[Ints] = []
    for whole in np.split(batch, edges):
        if parts and len(parts[-1]) + len(whole) <= size:
            parts[-1] = np.concatenate([parts[-1], whole])
        else:
            parts.append(whole)
    return parts
