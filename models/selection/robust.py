"""`policy=robust`: wrong labels out, labels' shares kept, spread over the embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.selection.assignment import Assignment, Draft
from models.selection.core import Caution, choose_caution, covering_core
from models.selection.duplicates import extra_copies, outvoted_copies
from models.selection.evidence import Evidence, drawn
from models.selection.placing import CALLED, last_of_its_label, suspicious, without, worst
from models.selection.shares import require_fractions, share


@dataclass(frozen=True)
class RobustPolicy:
    """Noise is what is more probably wrong than right (q ≥ 0.5), the most suspicious first and at most
    round(noise_fraction · n), where that is given; and of samples with the same text those whose label is
    outvoted. The core has round(core_fraction · n) of the others, as far as they suffice: each label keeps
    its share, and within a label the core covers the embedding (facility location). How many suspicious
    samples stay out of the core without being called noise is chosen on validation. The rest is edge.

    "Keep the highest importance" is not part of it: where labels are wrong, that is ruinous
    (docs/benchmarks.md). Importance orders each set.
    """

    core_fraction: float
    noise_fraction: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_fractions(self.core_fraction, self.noise_fraction or 0.0)

    def assign(self, evidence: Evidence) -> Assignment:
        by_id = evidence.by_id()
        found = self._assign_by_id(evidence.take(by_id))
        back = np.argsort(by_id)
        return Assignment(by_id[found.order], found.sets[back], found.reasons[back], found.told)

    def _assign_by_id(self, evidence: Evidence) -> Assignment:
        """Everything is computed in the order of the ids, so that no other order can show."""
        draft = Draft.all_edge(evidence, "redundant")
        numbers = drawn(evidence.ids, self.seed)
        wrong = worst(np.flatnonzero(evidence.noise_probability >= CALLED), evidence, self.noise_fraction)
        draft.put(wrong, "noise", "mislabelled")
        left = np.setdiff1d(np.arange(len(evidence)), wrong)
        left = without(left, outvoted_copies(evidence.take(left)), draft, "noise")
        left = without(left, extra_copies(evidence.take(left)), draft, "edge")
        doubted = left[evidence.noise_probability[left] >= CALLED]
        draft.put(doubted, "edge", "uncertain")
        left = np.setdiff1d(left, doubted)
        places = min(share(self.core_fraction, len(evidence)), len(left))
        caution = Caution(0.0, {})
        if places > 0:
            inside = evidence.take(left)
            caution = choose_caution(inside, places / len(left), numbers[left])
            core = covering_core(inside, places, caution.share, numbers[left])
            draft.put(left[suspicious(inside, caution.share)], "edge", "uncertain")
            draft.put(left[core], "core", "coverage")
            draft.put(left[last_of_its_label(inside, core)], "core", "protected")
        return draft.finished(
            evidence.importance_order(), {"caution": caution.share, "accuracies": caution.accuracies}
        )
