"""How far two subsets' models differ on each slice, and where one loses more than its share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.contracts.params import CompareParams
from models.comparison import Outcome, compare
from models.slices import excess_losses
from workers.compare.slicing import Slicing
from workers.measuring import Floats

LEVEL = 0.95
RESAMPLES = 1_000


def told_by_slice(
    system: Floats, baseline: Floats, metric: str, slicings: Sequence[Slicing], params: CompareParams
) -> list[dict[str, Any]]:
    """Of each slice, by values (seeds, m): the system's mean, its difference and a warning.

    `warning`: the slice loses (its interval is below 0), by more than the margin beyond what all lose, and by
    more than the rest so surely that no chance among all these slices explains it (`p_value`).
    """
    slices = [one for slicing in slicings for one in slicing.slices]
    overall = float((system - baseline).mean())
    excesses = excess_losses(system - baseline, [one.inside for one in slices])
    told = []
    for one, excess in zip(slices, excesses, strict=True):
        mine, theirs = system[:, one.inside], baseline[:, one.inside]
        found = compare(
            mine,
            theirs,
            margin=params.margin,
            level=LEVEL,
            resamples=RESAMPLES,
            seed=params.seed,
            sign_flips=False,
        )
        loses = found.outcome is Outcome.WORSE and found.difference < min(overall, 0.0) - params.margin
        sure = excess.p_value is not None and excess.p_value <= 1 - LEVEL
        told.append(
            {
                "by": one.by,
                "value": one.value,
                "count": one.count,
                metric: float(mine.mean()),
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "excess": excess.difference,
                "p_value": excess.p_value,
                "warning": loses and sure,
            }
        )
    return told
