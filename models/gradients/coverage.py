"""Which trainable parameter is covered, and by which rule: reported, so that none is left out silently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FALLBACK_RULE = "exact-fallback"
BATCH_FREE_RULE = "batch-free"

GroupOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ParameterCoverage:
    """One trainable parameter; ``rule`` names the rule of its module.

    ``batch-free``: the model's own code uses it, once for the whole batch. ``exact-fallback``: the slow exact
    path; until the first forward also what may turn out to be batch-free.
    """

    name: str
    shape: tuple[int, ...]
    rule: str


def layer_of(name: str) -> str:
    """The default group of a parameter: its path up to the first layer number, else its module.

    ``bert.encoder.layer.3.output.dense.weight`` -> ``bert.encoder.layer.3``;
    ``bert.embeddings.LayerNorm.bias`` -> ``bert.embeddings.LayerNorm``.
    """
    parts = name.split(".")
    for position, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: position + 1])
    return ".".join(parts[:-1]) or name
