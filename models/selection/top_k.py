"""`policy=top_k`: the highest of each label are core, nothing is noise."""

from __future__ import annotations

from dataclasses import dataclass

from models.selection.assignment import Assignment, Draft
from models.selection.evidence import Evidence
from models.selection.shares import first_by_label, require_fractions, share


@dataclass(frozen=True)
class TopKPolicy:
    """The data-diet rule (Paul et al. 2021) with the labels' shares kept.

    Each label gets its share of round(core_fraction · n) places, which go to its highest S_i. For clean data
    that is plentiful; it keeps wrong labels as `seed` does.
    """

    core_fraction: float

    def __post_init__(self) -> None:
        require_fractions(self.core_fraction, 0.0)

    def assign(self, evidence: Evidence) -> Assignment:
        order = evidence.importance_order()
        draft = Draft.all_edge(evidence, "easy")
        places = share(self.core_fraction, len(evidence))
        draft.put(first_by_label(evidence.labels, order, places), "core", "important")
        return draft.finished(order)
