"""Samples that share something: the same text, the same group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Related(NamedTuple):
    """flagged: (n,). of: (n,) position of the sample that each flagged one is related to; -1 elsewhere."""

    flagged: Mask
    of: Ints


def later_ones(*codes: Ints) -> Related:
    """Samples that agree with an earlier one in every code; `of` is the first that they agree with."""
    first = _first_of_each(np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].ravel())
    flagged = first != np.arange(len(first))
    return Related(flagged, np.where(flagged, first, -1))


def differing(shared: Ints, other: Ints) -> Related:
    """Samples that agree in `shared` with one that differs in `other`; `of` is the first such one.

    Negative codes stand for what is unknown: such samples agree with none, and differ from none.
    """
    size = len(shared)
    known = np.flatnonzero((shared >= 0) & (other >= 0))
    of = np.full(size, -1, dtype=np.int64)
    if not len(known):
        return Related(of >= 0, of)
    group = np.unique(shared[known], return_inverse=True)[1].ravel()
    values = other[known]
    first = _first_of_each(group)
    unlike_first = values != values[first]
    # Whoever is like the first of its group is related to the first that is not.
    first_unlike = np.full(int(group.max()) + 1, size, dtype=np.int64)
    np.minimum.at(first_unlike, group[unlike_first], np.flatnonzero(unlike_first))
    theirs = first_unlike[group]
    mine = np.where(unlike_first, first, theirs)
    related = unlike_first | (theirs < size)
    of[known[related]] = known[mine[related]]
    return Related(of >= 0, of)


def _first_of_each(codes: Ints) -> Ints:
    """(n,) for codes 0 … k − 1: the position of the first sample with the same code."""
    first = np.full(int(codes.max(initial=-1)) + 1, len(codes), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    return first[codes]
