"""Whether one way of training does better than another, from runs of several seeds on one test split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

# Cells drawn at a time, so that a large test split needs no more memory than a small one.
CELLS = 2_000_000


class Outcome(StrEnum):
    BETTER = "better"
    AS_GOOD = "as_good"
    WORSE = "worse"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Comparison:
    """difference: mean of the system − mean of the baseline, in the metric's own unit; low, high: interval.

    confidence: 0 to 1, the share of the resampled differences that lie where `outcome` says; for `unclear`
    the highest share that another outcome reached. seed_p_value: paired t-test over the seeds, None for one
    seed or where all differ alike. sample_p_value: sign-flip test over the samples, None for one sample
    or where it was not wanted.
    win_rate: share of the seeds in which the system is ahead, ties by half: P(A > B) of Bouthillier et al.
    2021, who ask for more than 0.75.
    """

    outcome: Outcome
    confidence: float
    difference: float
    low: float
    high: float
    level: float
    seeds: int
    samples: int
    seed_p_value: float | None
    sample_p_value: float | None
    win_rate: float


def compare(
    system: Floats,
    baseline: Floats,
    *,
    margin: float,
    level: float = 0.95,
    resamples: int = 4_000,
    seed: int = 0,
    sign_flips: bool = True,
) -> Comparison:
    """Compares two systems by values (seeds, n), higher is better, paired by row (seed) and column (sample).

    A value is what the metric is the mean of: right or wrong for accuracy, or a query's NDCG. A metric that
    is no mean over samples, such as macro-F1, comes as (seeds, 1); its interval is then Student's over the
    seeds.

    The interval is of the mean over other seeds and other samples: pairing, and both sources of variance, as
    Bouthillier et al. 2021 ask. Samples are resampled; the seeds' part is drawn from Student's t with
    seeds − 1 degrees of freedom, since a few seeds cannot be resampled (docs/decisions/0016):

        D* = D + (mean of resampled c_j − D) · √(n / (n − 1)) + t* · s ÷ √seeds

    D: mean difference. c_j: differences averaged over seeds (n,). s: standard deviation of the seeds' mean
    differences. What is particular to one seed and sample is in both parts, so the interval is rather too
    wide than too narrow, and two seeds seldom decide anything (t = 12.7).

    Outcome `as_good`: the whole interval lies within ± margin (equivalence, Schuirmann 1987), also where it
    excludes 0, since less than the margin does not matter. Else `better` or `worse` where it excludes 0, else
    `unclear`; always so for one seed, whose interval knows nothing of another training.

    sign_flips: False leaves `sample_p_value` out, which takes as long as the interval.

    The same arguments give the same answer. Raises ValueError for arrays that are not of one shape (seeds,
    n), for a single value, for a value that is not finite, a negative margin and a level outside (0, 1).
    """
    _check(system, baseline, margin, level)
    rng = np.random.default_rng(seed)
    differences = system.astype(np.float64) - baseline.astype(np.float64)
    by_seed, by_sample = differences.mean(axis=1), differences.mean(axis=0)
    difference = float(by_seed.mean())
    shifts = _sample_shifts(by_sample, resamples, rng) + _seed_shifts(by_seed, resamples, rng)
    drawn = difference + shifts
    low, high = (float(q) for q in np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2]))
    tested = sign_flips and len(by_sample) > 1
    outcome, confidence = _judge(drawn, low, high, margin, one_seed=len(by_seed) == 1)
    return Comparison(
        outcome=outcome,
        confidence=confidence,
        difference=difference,
        low=low,
        high=high,
        level=level,
        seeds=len(by_seed),
        samples=len(by_sample),
        seed_p_value=paired_t_test(by_seed),
        sample_p_value=sign_flip_test(by_sample, resamples, rng) if tested else None,
        win_rate=float(((by_seed > 0) + 0.5 * (by_seed == 0)).mean()),
    )


def paired_t_test(differences: Floats) -> float | None:
    """Two-sided p-value of Student's test that paired differences (seeds,) have mean 0. None for one, and
    where they have no spread."""
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    if spread <= 1e-12 * np.abs(differences).max():
        return None
    t = np.sqrt(len(differences)) * differences.mean() / spread
    return float(2.0 * stdtr(len(differences) - 1, -abs(t)))


def sign_flip_test(differences: Floats, resamples: int, rng: np.random.Generator) -> float:
    """Two-sided p-value that the two systems are exchangeable in every sample: differences (n,).

    The share of random sign patterns whose |sum| reaches the observed one, the observed one counted in
    (Fisher 1935; for queries, Smucker et al. 2007). It is about the models as trained, not about another
    seed.
    """
    # Sums of the same terms differ in their last bits with the order; equal ones have to count as reached.
    reached = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    extreme = 0
    for rows in _blocks(resamples, len(differences)):
        kept = rng.random((rows, len(differences)), dtype=np.float32) < 0.5
        sums = np.where(kept, differences, -differences).sum(axis=1)
        extreme += int((np.abs(sums) >= reached).sum())
    return (1 + extreme) / (1 + resamples)


def _check(system: Floats, baseline: Floats, margin: float, level: float) -> None:
    if system.ndim != 2 or system.shape != baseline.shape:
        raise ValueError(f"values of shapes {system.shape} and {baseline.shape} are not paired (seeds, n)")
    if system.size < 2:
        raise ValueError("one value of each system says nothing of how far values vary")
    if not (np.isfinite(system).all() and np.isfinite(baseline).all()):
        raise ValueError("a value is not finite")
    if margin < 0 or not 0 < level < 1:
        raise ValueError(f"margin {margin} is negative or level {level} outside (0, 1)")


def _sample_shifts(by_sample: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of resampled values (n,) less their own mean: (resamples,)."""
    n = len(by_sample)
    centred = by_sample - by_sample.mean()
    means = [centred[rng.integers(n, size=(rows, n))].mean(axis=1) for rows in _blocks(resamples, n)]
    shifts: Floats = np.concatenate(means) * np.sqrt(n / max(n - 1, 1))
    return shifts


def _seed_shifts(by_seed: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Errors of the mean over seeds as Student's t has them: (resamples,), its quantiles in random order."""
    if len(by_seed) == 1:
        return np.zeros(resamples)
    quantiles = stdtrit(len(by_seed) - 1, (np.arange(resamples) + 0.5) / resamples)
    errors: Floats = rng.permutation(quantiles) * (by_seed.std(ddof=1) / np.sqrt(len(by_seed)))
    return errors


def _blocks(rows: int, width: int) -> Iterator[int]:
    step = max(1, CELLS // width)
    for start in range(0, rows, step):
        yield min(step, rows - start)


def _judge(drawn: Floats, low: float, high: float, margin: float, *, one_seed: bool) -> tuple[Outcome, float]:
    shares = {
        Outcome.AS_GOOD: float((np.abs(drawn) <= margin).mean()),
        Outcome.BETTER: float((drawn > 0).mean()),
        Outcome.WORSE: float((drawn < 0).mean()),
    }
    if not one_seed:
        if -margin <= low and high <= margin:
            return Outcome.AS_GOOD, shares[Outcome.AS_GOOD]
        if low > 0:
            return Outcome.BETTER, shares[Outcome.BETTER]
        if high < 0:
            return Outcome.WORSE, shares[Outcome.WORSE]
    return Outcome.UNCLEAR, max(shares.values())
