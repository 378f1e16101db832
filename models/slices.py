"""Which parts of the test split lose more than the rest, when many parts are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

Floats = NDArray[np.float64]
Inside = NDArray[np.bool_]

QUANTILES = 4_000
LEAST = 2
"""Values in a slice, and beside it, from which its spread is known."""


@dataclass(frozen=True)
class Excess:
    """difference: mean of the slice − mean of the rest; None where either has fewer than two values.

    p_value: one-sided, of losing no more than the rest, adjusted for all slices that were given (Holm 1979).
    None where there is no difference, and for one seed.
    """

    difference: float | None
    p_value: float | None


def excess_losses(differences: Floats, slices: Sequence[Inside]) -> list[Excess]:
    """Of each slice (n,), by differences (seeds, n) of a system from its baseline, negative for a loss.

    E_k, the mean over seeds of (mean in the slice − mean of the rest), is noisy in two ways, as in `compare`:

        samples   Normal, variance V = var_in ÷ n_k + var_out ÷ (n − n_k) of the differences' mean over seeds
        seeds     t_ν · √(v_k ÷ seeds),  v_k = max(s_k², a_k · mean over slices of s_j² ÷ a_j)

    s_k: standard deviation of the slice's excess over the seeds. a_k = 1 ÷ n_k + 1 ÷ (n − n_k), what s_k² is
    proportional to where each sample errs on its own. A few seeds say little of one slice (3: t = 2.9, and 32
    after a correction for 100 slices), so their spread is pooled over all K: ν = (seeds − 1) K² ÷ Σ ρ_jk²
    (Satterthwaite), ρ_jk: correlation of membership in two slices; a slice that only mirrors another adds
    nothing. A slice that wavers more than the pool has its own spread.

    Raises ValueError where shapes disagree or a value is not finite.
    """
    if any(inside.shape != differences.shape[1:] for inside in slices):
        raise ValueError(f"slices do not divide {differences.shape[1:]} values")
    if not np.isfinite(differences).all():
        raise ValueError("a value is not finite")
    known = [i for i, inside in enumerate(slices) if LEAST <= inside.sum() <= len(inside) - LEAST]
    if not known:
        return [Excess(None, None)] * len(slices)
    inside = np.stack([slices[i] for i in known]).astype(np.float64)
    by_seed = _excess(differences, inside)
    excess = by_seed.mean(axis=0)
    p_values = _adjusted(_tail(differences.mean(axis=0), inside, by_seed)) if len(differences) > 1 else None
    told = [Excess(None, None)] * len(slices)
    for place, i in enumerate(known):
        told[i] = Excess(float(excess[place]), None if p_values is None else float(p_values[place]))
    return told


def _excess(differences: Floats, inside: Floats) -> Floats:
    """(seeds, K)"""
    counts, n = inside.sum(axis=1), inside.shape[1]
    sums: Floats = differences @ inside.T
    excess: Floats = sums / counts - (differences.sum(axis=1, keepdims=True) - sums) / (n - counts)
    return excess


def _tail(by_sample: Floats, inside: Floats, by_seed: Floats) -> Floats:
    """(K,) probability of such an excess or a lower one where there is none."""
    seeds, (k, n) = len(by_seed), inside.shape
    counts = inside.sum(axis=1)
    sums, squares = inside @ by_sample, inside @ by_sample**2
    of_samples = _mean_variance(counts, sums, squares) + _mean_variance(
        n - counts, by_sample.sum() - sums, (by_sample**2).sum() - squares
    )
    own, scale = by_seed.var(axis=0, ddof=1), 1 / counts + 1 / (n - counts)
    of_seeds = np.maximum(own, scale * (own / scale).mean()) / seeds
    freedom = (seeds - 1) * k**2 / (_correlation(inside) ** 2).sum()
    t = stdtrit(freedom, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    parts = zip(by_seed.mean(axis=0), np.sqrt(of_seeds), np.sqrt(of_samples), strict=True)
    return np.array([ndtr((excess - wide * t) / max(narrow, 1e-12)).mean() for excess, wide, narrow in parts])


def _mean_variance(counts: Floats, sums: Floats, squares: Floats) -> Floats:
    """Of a mean of so many values with this sum and sum of squares."""
    spread: Floats = np.maximum(squares - sums**2 / counts, 0.0) / (counts - 1)
    return spread / counts


def _correlation(inside: Floats) -> Floats:
    """(K, K) of membership, from how many values two slices share."""
    counts, n = inside.sum(axis=1), inside.shape[1]
    together = inside @ inside.T - np.outer(counts, counts) / n
    deviation = np.sqrt(np.diag(together))
    correlation: Floats = together / np.outer(deviation, deviation)
    return correlation


def _adjusted(p_values: Floats) -> Floats:
    """By Holm's step-down: the least level of the whole family at which each is still rejected."""
    order, k = np.argsort(p_values, kind="stable"), len(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(k, 0, -1))
    adjusted = np.empty(k)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
