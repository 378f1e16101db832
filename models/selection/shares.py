"""Fractions as the user wrote them, and the whole numbers that they come to."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

Ints = NDArray[np.int64]


def exact(fraction: float) -> Fraction:
    """The decimal number as the user wrote it: 0.1 is a tenth."""
    try:
        return Fraction(repr(float(fraction)))
    except ValueError as error:
        raise ModelError(
            "invalid_fractions", f"{fraction} is not a fraction.", "Choose a number from 0 to 1."
        ) from error


def share(fraction: float, count: int) -> int:
    """round(fraction · count), halves up, without the error of binary fractions."""
    return int(exact(fraction) * count + Fraction(1, 2))


def require_fractions(core_fraction: float, noise_fraction: float) -> None:
    """Raises ModelError `invalid_fractions`."""
    core, noise = exact(core_fraction), exact(noise_fraction)
    if core < 0 or noise < 0 or core + noise > 1:
        raise ModelError(
            "invalid_fractions",
            f"core_fraction {core_fraction} and noise_fraction {noise_fraction} "
            "must not be negative nor add up to more than 1.",
            "Lower one of them, for instance to 0.3 and 0.2.",
        )


def first_by_label(labels: Ints, order: Ints, places: int) -> Ints:
    """The samples that come first in `order` (n,), each label with its share of the places: positions."""
    shares = quotas(np.bincount(labels), places)
    ordered = labels[order]
    chosen = [order[ordered == label][: shares[label]] for label in np.flatnonzero(shares).tolist()]
    return np.concatenate([np.zeros(0, dtype=np.int64), *chosen])


def quotas(sizes: Ints, total: int) -> Ints:
    """How many of `total` each of k strata gets, in proportion to `sizes` (k,): (k,), by largest remainder.

    A stratum that is not empty gets at least one while there are enough for all of them; none gets more than
    it has. Ties go to the lower index. The sum is min(total, sizes.sum()).
    """
    total = min(total, int(sizes.sum()))
    filled = np.flatnonzero(sizes)
    given = np.zeros(len(sizes), dtype=np.int64)
    if total <= len(filled):
        given[filled[np.argsort(-sizes[filled], kind="stable")[:total]]] = 1
        return given
    given[filled] = 1
    wanted = sizes * (total / sizes.sum())
    while (missing := total - int(given.sum())) > 0:
        lacking = np.minimum(wanted - given, (sizes - given).astype(np.float64))
        room = np.flatnonzero(sizes > given)
        whole = np.floor(np.maximum(lacking, 0.0)).astype(np.int64)
        if 0 < whole.sum() <= missing:
            given += whole
            continue
        best = room[np.argsort(-(wanted - given)[room], kind="stable")[:missing]]
        given[best] += 1
    return given
