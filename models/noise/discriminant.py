"""What a linear discriminant says of samples that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

FOLDS = 5
_PULL = 2.0
"""Each class mean is drawn to the common mean as if that had been seen twice: classes may have one sample."""
_RIDGE = 1.0
"""In units of the mean variance of a coordinate: a covariance of 384 × 384 from few rows needs it."""
_TEMPERATURES: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
LEAST_WEIGHT = 0.02
_BLOCK = 16_384


def folds_of(numbers: NDArray[np.uint64]) -> Ints:
    """(n,) 0 … FOLDS − 1, from numbers that look random."""
    return (numbers % np.uint64(FOLDS)).astype(np.int64)


@dataclass(frozen=True)
class _Moments:
    """counts: (classes,), sums: (classes, dim), squares: (dim, dim), all weighted."""

    counts: Floats
    sums: Floats
    squares: Floats

    def __sub__(self, other: _Moments) -> _Moments:
        return _Moments(self.counts - other.counts, self.sums - other.sums, self.squares - other.squares)


def _moments(rows: Floats32, labels: Ints, weights: Floats, classes: int) -> _Moments:
    dim = rows.shape[1]
    sums, squares = np.zeros((classes, dim)), np.zeros((dim, dim))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        shares = np.zeros((classes, len(block)))
        shares[labels[start : start + _BLOCK], np.arange(len(block))] = weights[start : start + _BLOCK]
        sums += shares @ block
        squares += (block * weights[start : start + _BLOCK, None]).T @ block
    counts = np.bincount(labels, weights=weights, minlength=classes).astype(np.float64)
    return _Moments(counts, sums, squares)


def _log_posteriors(moments: _Moments, rows: Floats32) -> Floats:
    """(m, classes) unnormalised: classes are normal with one covariance (Fisher 1936), shrunk."""
    total = moments.counts.sum()
    common = moments.sums.sum(axis=0) / total
    means = (moments.sums + _PULL * common) / (moments.counts + _PULL)[:, None]
    crossed = means.T @ moments.sums
    within = moments.squares - crossed - crossed.T + (means * moments.counts[:, None]).T @ means
    within /= total
    within[np.diag_indices_from(within)] += _RIDGE * max(float(np.trace(within)) / len(within), 1e-12)
    directions = np.linalg.solve(within, means.T)
    offsets = np.log(moments.counts + 1.0) - 0.5 * (means * directions.T).sum(axis=1)
    return np.asarray(rows.astype(np.float64) @ directions + offsets)


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def temperature(logits: Floats, labels: Ints, among: Sequence[float]) -> float:
    """What to multiply logits by to make them as sure as they are right: the labels are likeliest then."""
    own = np.arange(len(labels))
    losses = [-np.log(softmax(logits * t)[own, labels] + 1e-12).mean() for t in among]
    return among[int(np.argmin(losses))]


@dataclass(frozen=True)
class Discriminant:
    """said: (n, classes) probabilities of the samples that it was fitted on, each from the other folds
    alone."""

    said: Floats
    whole: _Moments
    temperature: float

    def say(self, rows: Floats32) -> Floats:
        """(m, classes) probabilities of other samples, rows (m, dim): as sure as it was right out of fold."""
        return softmax(_log_posteriors(self.whole, rows) * self.temperature)


def fit_discriminant(
    rows: Floats32, labels: Ints, folds: Ints, classes: int, *, rounds: int = 1
) -> Discriminant:
    """A discriminant of n samples. Costs n · dim² a round, whatever the number of folds.

    After each round but the last, a sample counts for the next one by how well its label agreed with what
    the others said (p_label ÷ highest p, at least 0.02), so that wrong labels weigh less and less.
    rows: (n, dim). labels: (n,). folds: (n,) as of `folds_of`.
    """
    weights = np.ones(len(labels))
    everyone = np.arange(len(labels))
    for _ in range(rounds):
        parts = {
            fold: _moments(rows[inside], labels[inside], weights[inside], classes)
            for fold in range(FOLDS)
            if len(inside := np.flatnonzero(folds == fold))
        }
        whole = _sum(list(parts.values()))
        logits = np.zeros((len(labels), classes))
        for fold, part in parts.items():
            if len(parts) > 1:
                inside = folds == fold
                logits[inside] = _log_posteriors(whole - part, rows[inside])
        sureness = temperature(logits, labels, _TEMPERATURES)
        said = softmax(logits * sureness)
        weights = np.maximum(said[everyone, labels] / said.max(axis=1), LEAST_WEIGHT)
    return Discriminant(said, whole, sureness)


def _sum(parts: list[_Moments]) -> _Moments:
    return _Moments(
        np.sum([part.counts for part in parts], axis=0),
        np.sum([part.sums for part in parts], axis=0),
        np.sum([part.squares for part in parts], axis=0),
    )
