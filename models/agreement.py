"""How far repeated runs agree."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def rank_correlations(runs: Floats) -> Floats:
    """Spearman's ρ of each pair of runs, values (runs, n), ties by their mean rank: (pairs,), NaN where a run
    has one value only."""
    ranks = np.stack([rankdata(run) for run in runs])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    pairs = list(combinations(range(len(runs)), 2))
    with np.errstate(invalid="ignore"):
        return np.array([centred[a] @ centred[b] / (lengths[a] * lengths[b]) for a, b in pairs])


def mean_intervals(runs: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Means (n,) over the runs, values (runs, n) with at least two runs, and half the width (n,) of Student's
    interval of each: t · s ÷ √runs. It is of the mean over all seeds, and wide for two runs (t = 12.7)."""
    count = len(runs)
    reach = float(stdtrit(count - 1, 0.5 + level / 2))
    return runs.mean(axis=0), runs.std(axis=0, ddof=1) * (reach / np.sqrt(count))
