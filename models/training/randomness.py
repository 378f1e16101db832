"""Random numbers that depend on where a run is, not on what happened before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_randomness(device: torch.device, *key: int) -> Iterator[None]:
    """torch, numpy and python random, seeded from `key` within, as they were before afterwards.

    With (seed, step, micro-batch) as the key, dropout is a function of the position in the run:
    a resumed run draws what the uninterrupted one drew without any random state in the checkpoint,
    and nobody else's random numbers disturb it or are disturbed.
    """
    torch_seed, numpy_seed, python_seed = np.random.SeedSequence(key).generate_state(3, dtype=np.uint32)
    python_state = random.getstate()
    # Models may draw from numpy's and torch's global generators, so it is those that are seeded.
    numpy_state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch_seed))
        np.random.seed(int(numpy_seed))  # noqa: NPY002
        random.seed(int(python_seed))
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
