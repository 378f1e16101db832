"""`policy=random`: the control that every other policy has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.selection.assignment import Assignment, Draft
from models.selection.evidence import Evidence, drawn
from models.selection.shares import require_fractions, share


@dataclass(frozen=True)
class RandomPolicy:
    """round(core_fraction · n) samples drawn by the seed, each as likely as any other; the rest is edge.

    Who is drawn follows from the seed and the ids alone.
    """

    core_fraction: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_fractions(self.core_fraction, 0.0)

    def assign(self, evidence: Evidence) -> Assignment:
        by_id = evidence.by_id()
        numbers = drawn(evidence.ids, self.seed)
        drawn_order = by_id[np.argsort(numbers[by_id], kind="stable")]
        draft = Draft.all_edge(evidence, "redundant")
        draft.put(drawn_order[: share(self.core_fraction, len(evidence))], "core", "coverage")
        return draft.finished(evidence.importance_order())
