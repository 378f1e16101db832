"""Small monotone models: logistic weights that are never negative, and isotonic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 30


def logistic_fit(
    inputs: Floats, target: NDArray[np.bool_], weights: Floats, centre: Floats, precision: Floats
) -> Floats:
    """(p,) coefficients that maximise the weighted likelihood and a normal prior, by Newton's method.

    inputs: (n, p), a column of ones for the intercept. target: (n,). weights: (n,). centre, precision: (p,),
    the prior's mean and inverse variance.
    """
    found = centre.astype(np.float64).copy()
    loss = _loss(inputs, target, weights, centre, precision, found)
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (weights * (target - chance)) - precision * (found - centre)
        curve = (inputs * (weights * chance * (1.0 - chance))[:, None]).T @ inputs + np.diag(precision + 1e-9)
        step = np.linalg.solve(curve, slope)
        while (reached := _loss(inputs, target, weights, centre, precision, found + step)) > loss:
            step = step / 2  # the likelihood is concave, but a whole step may leap over its top
            if np.abs(step).max() < 1e-8:
                return found
        found, loss = found + step, reached
        if np.abs(step).max() < 1e-8:
            break
    return found


def _loss(
    inputs: Floats,
    target: NDArray[np.bool_],
    weights: Floats,
    centre: Floats,
    precision: Floats,
    found: Floats,
) -> float:
    signed = np.where(target, 1.0, -1.0) * (inputs @ found)
    return float(weights @ np.logaddexp(0.0, -signed) + 0.5 * precision @ np.square(found - centre))


def logistic_weights(doubts: Floats, planted: NDArray[np.bool_], balance: Floats) -> Floats:
    """(voices,) how much each doubt counts, at least 0: a voice that would count against itself is left out.

    doubts: (n, voices). planted: (n,) bool. balance: (n,) weights of the rows.
    """
    spread = doubts.std(axis=0) + 1e-9
    kept = np.arange(doubts.shape[1])
    while True:
        inputs = np.column_stack([doubts[:, kept] / spread[kept], np.ones(len(doubts))])
        precision = np.full(len(kept) + 1, 10.0)
        precision[-1] = 0.0
        found = logistic_fit(inputs, planted, balance, np.zeros(len(kept) + 1), precision)[:-1]
        if (found >= 0).all() or len(kept) == 1:
            break
        kept = kept[np.arange(len(kept)) != int(np.argmin(found))]
    weights = np.zeros(doubts.shape[1])
    weights[kept] = np.maximum(found, 0.0) / spread[kept]
    return weights


def isotonic(inputs: Floats, target: NDArray[np.bool_] | Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Knots (k,) and values (k,), both ascending: the rising function of the inputs (n,) nearest to the
    target (n,) in weighted squares, by pooling adjacent violators. Between the knots it is to be
    interpolated."""
    order = np.argsort(inputs, kind="stable")
    means: list[float] = []
    masses: list[float] = []
    centres: list[float] = []
    for place, value, mass in zip(
        inputs[order].tolist(),
        np.asarray(target, dtype=np.float64)[order].tolist(),
        weights[order].tolist(),
        strict=True,
    ):
        means.append(value)
        masses.append(mass)
        centres.append(place)
        while len(means) > 1 and means[-2] >= means[-1]:
            mean, mass_, centre = means.pop(), masses.pop(), centres.pop()
            total = masses[-1] + mass_
            means[-1] = (means[-1] * masses[-1] + mean * mass_) / total
            centres[-1] = (centres[-1] * masses[-1] + centre * mass_) / total
            masses[-1] = total
    return np.array(centres), np.array(means)
