"""What the policies that judge labels do with their samples, one group after the other."""

from __future__ import annotations

import numpy as np

from models.selection.assignment import Draft
from models.selection.evidence import Evidence, Ints
from models.selection.shares import share

CALLED = 0.5
"""From this probability on a label is more probably wrong than right."""
UNCERTAIN = 0.2


def worst(called: Ints, evidence: Evidence, noise_fraction: float | None) -> Ints:
    """The most suspicious of those that are called, at most round(noise_fraction · n) where that is given."""
    most = len(evidence) if noise_fraction is None else share(noise_fraction, len(evidence))
    return called[np.argsort(-evidence.suspicion[called], kind="stable")[:most]]


def without(left: Ints, copies: Ints, draft: Draft, set_name: str) -> Ints:
    """What is left once these copies, positions in `left`, have their place. Who is out already neither
    outvotes another copy nor stands for it."""
    draft.put(left[copies], set_name, "duplicate")
    return np.delete(left, copies)


def suspicious(evidence: Evidence, caution: float) -> Ints:
    """Who is too doubtful for the core by its label's share, or by its own probability."""
    doubtful = np.nan_to_num(evidence.noise_probability) >= UNCERTAIN
    for label in range(evidence.classes):
        members = np.flatnonzero(evidence.labels == label)
        cut = round((1.0 - caution) * len(members))
        doubtful[members[np.argsort(evidence.suspicion[members], kind="stable")[cut:]]] = True
    return np.flatnonzero(doubtful)


def last_of_its_label(evidence: Evidence, core: Ints) -> Ints:
    """Members of the core without whom their label would not be in it."""
    counts = np.bincount(evidence.labels[core], minlength=evidence.classes)
    return np.asarray(core[counts[evidence.labels[core]] == 1], dtype=np.int64)
