"""Which of the samples whose labels are not called wrong make the core, and how cautious to be about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.noise.discriminant import fit_discriminant, folds_of
from models.selection.coverage import spread
from models.selection.evidence import Checks, Evidence
from models.selection.shares import quotas

Ints = NDArray[np.int64]

PLENTY = 50
"""Places of a label from which on it is worth spending some on hard samples."""
CAUTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
LEAST_TRIED, TRIED_ON = 100, 20_000
_HELD_OUT = 5


@dataclass(frozen=True)
class Caution:
    """share: of each label, the most suspicious that stay out of the core. accuracies: of a discriminant that
    was fitted on the core of each caution, by share; empty where there was nothing to choose."""

    share: float
    accuracies: dict[float, float]


def covering_core(
    evidence: Evidence,
    places: int,
    caution: float,
    numbers: NDArray[np.uint64],
    held: Ints | None = None,
) -> Ints:
    """Positions of up to `places` samples: each label's share of them, spread over the embedding.

    Of each label the most suspicious `caution` stay out, as far as its places can be filled without them.
    Where groups are few enough to take no more than half of the places, each keeps its least suspicious
    sample. numbers: (n,) random, by id. held: who is in it already and stays; the others are spread around
    them. Of a label with places in plenty, half of the new ones go to its most ambiguous samples instead:
    keep the hard where data is plentiful, not where it is scarce (Sorscher et al. 2022; docs/benchmarks.md).
    Without an embedding the places are drawn.
    """
    sizes = np.bincount(evidence.labels, minlength=evidence.classes)
    shares = quotas(sizes, places)
    held = np.zeros(0, dtype=np.int64) if held is None else held
    kept = np.union1d(held, _one_a_group(evidence, places, numbers))
    chosen: list[Ints] = [kept]
    for label in np.flatnonzero(shares).tolist():
        members = np.setdiff1d(np.flatnonzero(evidence.labels == label), kept)
        share = min(max(int(shares[label]) - int((evidence.labels[kept] == label).sum()), 0), len(members))
        least = max(share, round((1.0 - caution) * len(members)))
        trusted = members[np.lexsort((numbers[members], evidence.suspicion[members]))[:least]]
        order = np.argsort(numbers[trusted], kind="stable")
        if evidence.embedding is None:
            chosen.append(trusted[order[:share]])
            continue
        before = held[evidence.labels[held] == label]
        near = evidence.embedding[before[np.argsort(numbers[before], kind="stable")]]
        torn = share // 2 if shares[label] >= PLENTY and evidence.ambiguity.any() else 0
        covering = trusted[spread(evidence.embedding[trusted], share - torn, order, near)]
        left = np.setdiff1d(trusted, covering)
        hardest = left[np.lexsort((numbers[left], -evidence.ambiguity[left]))]
        chosen += [covering, hardest[:torn]]
    return np.concatenate(chosen)[: max(places, len(held))]


def _one_a_group(evidence: Evidence, places: int, numbers: NDArray[np.uint64]) -> Ints:
    if evidence.groups is None:
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((numbers, evidence.suspicion))
    firsts = np.unique(evidence.groups[order], return_index=True)[1]
    return np.sort(order[firsts]) if 2 * len(firsts) <= places else np.zeros(0, dtype=np.int64)


def choose_caution(evidence: Evidence, fraction: float, numbers: NDArray[np.uint64]) -> Caution:
    """Tries each caution: how well does a discriminant of its core do on samples outside?

    These are the `checks` of the evidence, or a fifth of the samples where there are none; whose labels may
    be wrong, too. The least caution wins that is within half a standard error of the best: wrong labels
    hurt, but so does leaving out what is merely hard. fraction: the core's share.
    """
    if evidence.embedding is None or len(evidence) < LEAST_TRIED or not evidence.suspicion.any():
        return Caution(0.0, {})
    tried = np.argsort(numbers, kind="stable")[:TRIED_ON]
    checks = evidence.checks
    if checks is None:
        held, tried = tried[::_HELD_OUT], np.delete(tried, np.s_[::_HELD_OUT])
        checks = Checks(evidence.embedding[held], evidence.labels[held])
    inside = evidence.take(np.sort(tried))
    accuracies = {
        caution: _accuracy(inside, fraction, caution, numbers[np.sort(tried)], checks) for caution in CAUTIONS
    }
    best = max(accuracies.values())
    slack = 0.5 * np.sqrt(max(best * (1.0 - best), 1e-3) / len(checks.labels))
    share = min(caution for caution, accuracy in accuracies.items() if accuracy >= best - slack)
    return Caution(share, accuracies)


def _accuracy(
    evidence: Evidence, fraction: float, caution: float, numbers: NDArray[np.uint64], checks: Checks
) -> float:
    core = covering_core(evidence, max(2, round(fraction * len(evidence))), caution, numbers)
    assert evidence.embedding is not None
    rows, labels = evidence.embedding[core], evidence.labels[core]
    fitted = fit_discriminant(rows, labels, folds_of(numbers[core]), evidence.classes)
    return float((fitted.say(checks.embedding).argmax(axis=1) == checks.labels).mean())
