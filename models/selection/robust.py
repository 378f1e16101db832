"""`policy=robust`: wrong labels out, labels' shares kept, spread over the embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.selection.assignment import Assignment, Draft
from models.selection.core import Caution, choose_caution, covering_core
from models.selection.duplicates import extra_copies, outvoted_copies
from models.selection.evidence import Evidence, Ints, drawn
from models.selection.shares import require_fractions, share

CALLED = 0.5
UNCERTAIN = 0.2


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
        wrong = self._wrong(evidence)
        draft.put(wrong, "noise", "mislabelled")
        left = np.setdiff1d(np.arange(len(evidence)), wrong)
        left = _without(left, outvoted_copies(evidence.take(left)), draft, "noise")
        left = _without(left, extra_copies(evidence.take(left)), draft, "edge")
        places = min(share(self.core_fraction, len(evidence)), len(left))
        caution = Caution(0.0, {})
        if places > 0:
            inside = evidence.take(left)
            caution = choose_caution(inside, places / len(left), numbers[left])
            core = covering_core(inside, places, caution.share, numbers[left])
            draft.put(left[_suspicious(inside, caution.share)], "edge", "uncertain")
            draft.put(left[core], "core", "coverage")
            draft.put(left[_last_of_its_label(inside, core)], "core", "protected")
        return draft.finished(
            evidence.importance_order(), {"caution": caution.share, "accuracies": caution.accuracies}
        )

    def _wrong(self, evidence: Evidence) -> Ints:
        above = np.flatnonzero(evidence.noise_probability >= CALLED)
        most = len(evidence) if self.noise_fraction is None else share(self.noise_fraction, len(evidence))
        worst_first = np.argsort(-evidence.suspicion[above], kind="stable")
        return np.asarray(above[worst_first[:most]], dtype=np.int64)


def _without(left: Ints, copies: Ints, draft: Draft, set_name: str) -> Ints:
    """What is left once these copies, positions in `left`, have their place. Who is out already neither
    outvotes another copy nor stands for it."""
    draft.put(left[copies], set_name, "duplicate")
    return np.delete(left, copies)


def _suspicious(evidence: Evidence, caution: float) -> Ints:
    """Who is too doubtful for the core by its label's share, or by its own probability."""
    doubtful = np.nan_to_num(evidence.noise_probability) >= UNCERTAIN
    for label in range(evidence.classes):
        members = np.flatnonzero(evidence.labels == label)
        cut = round((1.0 - caution) * len(members))
        doubtful[members[np.argsort(evidence.suspicion[members], kind="stable")[cut:]]] = True
    return np.flatnonzero(doubtful)


def _last_of_its_label(evidence: Evidence, core: Ints) -> Ints:
    """Members of the core without whom their label would not be in it."""
    counts = np.bincount(evidence.labels[core], minlength=evidence.classes)
    return np.asarray(core[counts[evidence.labels[core]] == 1], dtype=np.int64)
