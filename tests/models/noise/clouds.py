"""Samples of known classes in a space where they overlap a little."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.noise import Judged


class Clouds(NamedTuple):
    rows: NDArray[np.float32]
    true: NDArray[np.int64]
    given: NDArray[np.int64]
    folds: NDArray[np.int64]
    classes: int

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.given != self.true

    def judged(self) -> Judged:
        return Judged(self.rows, self.given, self.folds, self.classes)


def clouds(
    count: int, *, classes: int = 4, dim: int = 16, noise: float = 0.2, spread: float = 0.5, seed: int = 0
) -> Clouds:
    """`noise` of the labels are another class, each as likely. The centres follow from the classes alone."""
    centres = np.random.default_rng(1000 + classes).normal(size=(classes, dim))
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, count)
    rows = centres[true] + spread * random.normal(size=(count, dim)) * np.sqrt(2)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    given = true.copy()
    flipped = random.random(count) < noise
    given[flipped] = (true[flipped] + random.integers(1, classes, flipped.sum())) % classes
    return Clouds(rows.astype(np.float32), true, given, random.integers(0, 5, count), classes)


def area_under_roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The share of pairs in the right order; equal scores count half."""
    high, low = scores[positive][:, None], scores[~positive][None, :]
    return float((high > low).mean() + 0.5 * (high == low).mean())
