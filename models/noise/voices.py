"""What others say of a sample's label: each voice is a distribution over the classes, out of sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.noise.discriminant import fit_discriminant, softmax
from models.noise.neighbours import Floats32, nearest_neighbours, unit_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_NEIGHBOURS = 25
LEAST_NEIGHBOURS = 10
ROUNDS = 3
_FLOOR = 0.02
"""Added to every probability before its logarithm: a voice that says "impossible" must not outshout all
others."""


@dataclass(frozen=True)
class Judged:
    """n samples whose labels are in question.

    rows: (n, dim) float32, the embedding at length 1. labels: (n,) class indices. folds: (n,) as of
    `folds_of`, drawn without looking at the labels.
    """

    rows: Floats32
    labels: Ints
    folds: Ints
    classes: int

    def __len__(self) -> int:
        return len(self.labels)


def voices_of(judged: Judged) -> list[Floats]:
    """Three voices (n, classes), none of which has heard the label of the sample that it speaks of.

    The labels of the nearest others, by cos² after centring (after SimiFeat, Zhu et al. 2022); a
    discriminant of the other folds, reweighted against wrong labels; and what that says of the nearest.
    """
    labels, classes = judged.labels, judged.classes
    centred = unit_rows(judged.rows, judged.rows.mean(axis=0))
    near = nearest_neighbours(centred, k=_how_many(judged))
    said = fit_discriminant(judged.rows, labels, judged.folds, classes, rounds=ROUNDS).said
    return [near.votes(np.eye(classes)[labels]), said, near.votes(said)]


def _how_many(judged: Judged) -> int:
    """Neighbours to ask: a third of what a class has on average, so that a small class is not outvoted."""
    a_third = len(judged) // (3 * judged.classes)
    return min(max(a_third, LEAST_NEIGHBOURS), MOST_NEIGHBOURS, len(judged) - 1)


def doubt(voice: Floats, positions: Ints, labels: Ints) -> Floats:
    """(m,) how strongly a voice prefers another label for samples at `positions`: log highest other − log
    own."""
    chosen = voice[positions]
    rows = np.arange(len(positions))
    own = chosen[rows, labels]
    chosen[rows, labels] = 0.0
    return np.asarray(np.log(chosen.max(axis=1) + _FLOOR) - np.log(own + _FLOOR))


def doubts(voices: Sequence[Floats], positions: Ints, labels: Ints) -> Floats:
    """(m, voices)"""
    return np.stack([doubt(voice, positions, labels) for voice in voices], axis=1)


def filled(heard: Floats, voices: Sequence[Floats]) -> Floats:
    """(n, classes) what was heard, as log probabilities; what the others agree on where it is NaN."""
    return np.where(np.isnan(heard), consensus(voices), softmax(np.nan_to_num(heard)))


def consensus(voices: Sequence[Floats]) -> Floats:
    """(n, classes) the geometric mean of the voices, summing to 1."""
    mean = np.exp(np.mean([np.log(voice + _FLOOR) for voice in voices], axis=0))
    return np.asarray(mean / mean.sum(axis=1, keepdims=True))
