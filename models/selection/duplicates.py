"""Samples with the same text."""

from __future__ import annotations

import numpy as np

from models.selection.evidence import Evidence, Ints

_NOBODY = np.zeros(0, dtype=np.int64)


def extra_copies(evidence: Evidence) -> Ints:
    """All but the first, by id, of the samples that share text and label."""
    if evidence.texts is None:
        return _NOBODY
    seen: dict[tuple[int, int], int] = {}
    keys = zip(evidence.texts.tolist(), evidence.labels.tolist(), strict=True)
    return np.array([i for i, key in enumerate(keys) if seen.setdefault(key, i) != i], dtype=np.int64)


def outvoted_copies(evidence: Evidence) -> Ints:
    """Samples whose text has another label more often than theirs, or has one that a person confirmed."""
    if evidence.texts is None:
        return _NOBODY
    text = np.unique(evidence.texts, return_inverse=True)[1]
    pair = text * evidence.classes + evidence.labels
    pairs, place, counts = np.unique(pair, return_inverse=True, return_counts=True)
    confirmed = np.bincount(place, weights=evidence.verdicts > 0, minlength=len(pairs)) > 0
    counts = np.where(confirmed, len(evidence), counts)
    most = np.zeros(int(text.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(most, pairs // evidence.classes, counts)
    return np.flatnonzero(counts[place] < most[text])
