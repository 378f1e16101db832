"""Which validation samples a step on a train sample helps, and which it hurts.

Of the model's last layer the gradient of a sample's loss is an outer product: r hᵀ, with what the layer read,
h, and r = p − e_label; of its bias it is r. The optimiser steps along P g, not along g, so a step on sample i
lowers the loss of validation sample v in proportion to ⟨P g_i, g_v⟩. Told is its cosine in that metric,
⟨P g_i, g_v⟩ / (√⟨P g_i, g_i⟩ √⟨P g_v, g_v⟩): between −1 and 1, and not ruled by samples of large gradients.

Source: TracIn (Pruthi et al. 2020), whose last layer alone is taken as there; LESS (Xia et al. 2024) for P.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lance
import numpy as np
from numpy.typing import NDArray

from app.store.explanations import validation_rows

Floats = NDArray[np.float64]


@dataclass
class Influences:
    """count: of the strongest that are kept on either side, as (value, ordinal, generation)."""

    count: int
    _strongest: dict[int, list[tuple[float, int, int]]] = field(default_factory=lambda: {1: [], -1: []})

    def add(self, values: Floats, ordinals: NDArray[np.int64], generations: NDArray[np.int64]) -> None:
        """(m,) each."""
        rows = list(zip(values.tolist(), ordinals.tolist(), generations.tolist(), strict=True))
        for sign, held in self._strongest.items():
            mine = [(sign * value, ordinal, generation) for value, ordinal, generation in rows]
            held[:] = heapq.nlargest(self.count, [*held, *(row for row in mine if row[0] > 0)])

    def most(self, sign: int) -> list[tuple[int, int, float]]:
        """Ordinal, generation and cosine, the strongest first. sign: 1 helped, −1 hurt."""
        return [(ordinal, generation, sign * value) for value, ordinal, generation in self._strongest[sign]]


def influences(
    table: lance.LanceDataset, seen: Mapping[str, Any], head: NDArray[np.float32], count: int
) -> Influences:
    """Of the sample that was seen so on all validation samples. head: (classes, width + 1), P by weight."""
    mine = LastLayer.of(seen["logits"][None], seen["hidden"][None], np.array([seen["label"]]))
    length = np.sqrt(mine.squares(head)[0])
    found = Influences(count)
    for rows in validation_rows(table):
        theirs = LastLayer.of(rows["logits"], rows["hidden"], rows["label"])
        dots = theirs.dots(head * mine.residual[0][:, None] * mine.read[0])
        lengths = length * np.sqrt(theirs.squares(head))
        cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
        found.add(cosines, rows["ordinal"], rows["generation"])
    return found


@dataclass(frozen=True)
class LastLayer:
    """Gradients of m samples as factors: residual (m, classes), read (m, width + 1), 1 for the bias."""

    residual: Floats
    read: Floats

    @classmethod
    def of(cls, logits: NDArray[Any], hidden: NDArray[Any], labels: NDArray[Any]) -> LastLayer:
        """Of the cross-entropy. logits: (m, classes), hidden: (m, width), labels: (m,) class indices."""
        wide = logits.astype(np.float64)
        residual = np.exp(wide - np.logaddexp.reduce(wide, axis=1, keepdims=True))
        residual[np.arange(len(labels)), labels] -= 1.0
        return cls(residual, np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1, dtype=np.float64))

    def dots(self, direction: Floats) -> Floats:
        """(m,) with a direction (classes, width + 1)."""
        products: Floats = (self.residual * (self.read @ direction.T)).sum(axis=1)
        return products

    def squares(self, head: NDArray[np.float32]) -> Floats:
        """(m,) ⟨P g, g⟩."""
        products: Floats = (self.residual**2 * (self.read**2 @ head.T)).sum(axis=1)
        return products
