"""`policy=seed`: order by importance, highest share core, lowest share noise, the rest edge."""

from __future__ import annotations

from dataclasses import dataclass

from models.selection.assignment import Assignment, Draft
from models.selection.evidence import Evidence
from models.selection.shares import require_fractions, share


@dataclass(frozen=True)
class SeedPolicy:
    """The founding algorithm, to the letter.

    Of n samples ordered by S_i, highest first (ties by id), the first round(core_fraction · n) are core, the
    last round(noise_fraction · n) are noise, the rest are edge. Halves round up, on the decimal value of
    the fraction as written (0.29 of 50 is 14.5, hence 15). Where rounding makes both meet, core wins.

    High importance means hard or mislabelled, so this core also holds the wrong labels.
    """

    core_fraction: float
    noise_fraction: float

    def __post_init__(self) -> None:
        require_fractions(self.core_fraction, self.noise_fraction)

    def assign(self, evidence: Evidence) -> Assignment:
        count = len(evidence)
        order = evidence.importance_order()
        core_count = share(self.core_fraction, count)
        noise_count = min(share(self.noise_fraction, count), count - core_count)
        draft = Draft.all_edge(evidence, "uncertain")
        draft.put(order[:core_count], "core", "important")
        draft.put(order[count - noise_count :], "noise", "easy")
        return draft.finished(order)
