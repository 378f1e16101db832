"""`policy=ccs`: coverage-centric selection over the range of scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.selection.assignment import Assignment, Draft
from models.selection.evidence import Evidence, drawn
from models.selection.shares import require_fractions, share

STRATA = 50


@dataclass(frozen=True)
class CcsPolicy:
    """Zheng et al. 2023 (2210.15809), algorithm 1, with S_i as the score.

    The hardest round(noise_fraction · n) samples are cut off (their β; here they are noise). The range of the
    others' scores is cut into 50 strata of equal width. Strata are served from the smallest on: each gets an
    equal share of the places that are left, all its samples if it has fewer, else that many drawn by the
    seed.
    """

    core_fraction: float
    noise_fraction: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_fractions(self.core_fraction, self.noise_fraction)

    def assign(self, evidence: Evidence) -> Assignment:
        count = len(evidence)
        order = evidence.importance_order()
        draft = Draft.all_edge(evidence, "redundant")
        core_count = share(self.core_fraction, count)
        cut = min(share(self.noise_fraction, count), count - core_count)
        draft.put(order[:cut], "noise", "outlier")
        kept = order[cut:]
        if len(kept):
            self._fill(evidence, draft, kept, core_count)
        return draft.finished(order)

    def _fill(self, evidence: Evidence, draft: Draft, kept: np.ndarray, core_count: int) -> None:
        values = evidence.importance[kept]
        width = (values.max() - values.min()) / STRATA
        stratum = np.zeros(len(kept), dtype=np.int64)
        if width > 0:
            stratum = np.minimum(((values - values.min()) / width).astype(np.int64), STRATA - 1)
        numbers = drawn([evidence.ids[i] for i in kept.tolist()], self.seed)
        sizes = np.bincount(stratum, minlength=STRATA)
        filled = np.flatnonzero(sizes)
        left = core_count
        for served, which in enumerate(filled[np.argsort(sizes[filled], kind="stable")].tolist()):
            members = np.flatnonzero(stratum == which)
            places = min(len(members), left // (len(filled) - served))
            draft.put(kept[members[np.argsort(numbers[members], kind="stable")[:places]]], "core", "coverage")
            left -= places
