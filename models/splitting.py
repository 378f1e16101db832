"""Cutting a validation split from the training samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def stratified_holdout(
    labels: IntArray, fraction: float, seed: int, groups: Sequence[Hashable] | None = None
) -> BoolArray:
    """Which samples are held out: (n,) bool, True = held out.

    labels: (n,) class indices. Every class gives about `fraction` of its samples and keeps at least
    one, so a class with a single sample never loses it. Without `groups` the total is
    round(fraction · n) as far as the classes can give it. With `groups` (n,), such as the query of a
    relevance row, a group is held out whole or not at all, so the shares are met only as closely as
    the groups allow. The same arguments give the same answer.
    """
    if not 0.0 <= fraction < 1.0:
        raise ModelError(
            "invalid_fractions",
            f"The validation fraction is {fraction}, not in [0, 1).",
            "Choose a fraction such as 0.1.",
        )
    labels = np.asarray(labels, dtype=np.int64)
    rng = np.random.default_rng(seed)
    if len(labels) == 0:
        return np.zeros(0, dtype=bool)
    classes = np.unique(labels, return_inverse=True)[1]
    if groups is None:
        return _hold_out_samples(classes, fraction, rng)
    if len(groups) != len(labels):
        raise ValueError(f"{len(labels)} labels but {len(groups)} groups")
    return _hold_out_groups(classes, _dense(groups), fraction, rng)


def _hold_out_samples(classes: IntArray, fraction: float, rng: np.random.Generator) -> BoolArray:
    held_out = np.zeros(len(classes), dtype=bool)
    quotas = _class_quotas(np.bincount(classes), fraction)
    shuffled = rng.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    starts = np.concatenate(([0], np.cumsum(np.bincount(classes))))
    for start, quota in zip(starts, quotas, strict=False):
        held_out[by_class[start : start + quota]] = True
    return held_out


def _class_quotas(sizes: IntArray, fraction: float) -> IntArray:
    """How many samples each class gives: (classes,), by largest remainder, at most size − 1."""
    exact = fraction * sizes
    quotas = np.floor(exact).astype(np.int64)
    missing = int(np.floor(fraction * sizes.sum() + 0.5)) - int(quotas.sum())
    for label in np.argsort(-(exact - quotas), kind="stable"):
        if missing > 0 and exact[label] > quotas[label] and quotas[label] + 1 < sizes[label]:
            quotas[label] += 1
            missing -= 1
    kept: IntArray = np.minimum(quotas, sizes - 1)
    return kept


def _hold_out_groups(
    classes: IntArray, groups: IntArray, fraction: float, rng: np.random.Generator
) -> BoolArray:
    """Walk the groups in random order; hold one out if that brings the classes nearer their shares.

    "Nearer" is the squared distance Σ_c (held_c − fraction · size_c)², of which only the classes of
    the group at hand can change.
    """
    sizes = np.bincount(classes)
    target = fraction * sizes
    held = np.zeros(len(sizes), dtype=np.int64)
    group_held_out = np.zeros(int(groups.max()) + 1, dtype=bool)
    by_group = np.argsort(groups, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(groups))))
    for group in rng.permutation(len(group_held_out)):
        members = by_group[starts[group] : starts[group + 1]]
        labels, counts = np.unique(classes[members], return_counts=True)
        before = held[labels] - target[labels]
        nearer = bool(np.square(before + counts).sum() < np.square(before).sum())
        if nearer and bool(np.all(held[labels] + counts < sizes[labels])):
            held[labels] += counts
            group_held_out[group] = True
    return group_held_out[groups]


def _dense(groups: Sequence[Hashable]) -> IntArray:
    """Groups of any kind as 0, 1, 2, … in order of first appearance: (n,)."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups], dtype=np.int64)
