"""The core that grows round by round, while the edge shrinks and what stays doubtful is quarantined."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.selection.assignment import REASON_CODES, Assignment, Draft
from models.selection.core import Caution, choose_caution, covering_core
from models.selection.duplicates import extra_copies, outvoted_copies
from models.selection.evidence import Evidence, Ints, drawn
from models.selection.placing import CALLED, last_of_its_label, suspicious, worst
from models.selection.shares import exact, first_by_label, share

LOOKS = 2
"""A label counts as wrong when it was more probably wrong than right so many looks in a row."""
_MISLABELLED, _DUPLICATE = REASON_CODES["mislabelled"], REASON_CODES["duplicate"]


@dataclass(frozen=True)
class Growth:
    """How far the core of n samples has grown.

    core: (n,) bool. doubted: (n,), looks in a row at which the label was more probably wrong than right.
    noise: (n,), why a sample is quarantined (REASON_CODES), 0 where it is not.
    """

    core: NDArray[np.bool_]
    doubted: Ints
    noise: NDArray[np.uint8]

    @classmethod
    def of_nothing(cls, count: int) -> Growth:
        return cls(np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64), np.zeros(count, np.uint8))

    def take(self, positions: Ints) -> Growth:
        return Growth(self.core[positions], self.doubted[positions], self.noise[positions])

    def put(self, positions: Ints, part: Growth) -> Growth:
        """With `part` at these positions."""
        core, doubted, noise = self.core.copy(), self.doubted.copy(), self.noise.copy()
        core[positions], doubted[positions], noise[positions] = part.core, part.doubted, part.noise
        return Growth(core, doubted, noise)


@dataclass(frozen=True)
class Grower:
    """One turn is `look`, with what is known of the labels by now, and `promote`.

    The core never loses a sample but to noise, and who was found mislabelled returns by a person's word
    alone. Nothing depends on the order of the samples.
    """

    noise_fraction: float | None = None
    seed: int = 0

    def look(self, evidence: Evidence, growth: Growth) -> Growth:
        """Quarantines what was called at LOOKS looks in a row, what a person found wrong, and outvoted
        copies.

        At most round(noise_fraction · n) labels are called wrong, where that is given; persons are not bound
        by it.
        """
        by_id = evidence.by_id()
        return growth.put(by_id, self._look(evidence.take(by_id), growth.take(by_id)))

    def promote(self, evidence: Evidence, growth: Growth, places: int) -> tuple[Growth, Caution]:
        """Fills the core up to `places`, as `policy=robust` would: labels' shares, spread over the texts.

        Who is more probably wrong than right waits, and so do further copies of a text.
        """
        by_id = evidence.by_id()
        promoted, caution = self._promote(evidence.take(by_id), growth.take(by_id), places)
        return growth.put(by_id, promoted), caution

    def _look(self, evidence: Evidence, growth: Growth) -> Growth:
        called = evidence.noise_probability >= CALLED
        doubted = np.where(called, growth.doubted + 1, 0)
        right, wrong = evidence.verdicts > 0, evidence.verdicts < 0
        noise = np.where(right | (growth.noise == _DUPLICATE), 0, growth.noise).astype(np.uint8)
        noise[wrong] = _MISLABELLED
        standing = noise == _MISLABELLED
        most = worst(np.flatnonzero(standing | (doubted >= LOOKS)), evidence, self.noise_fraction)
        room = max(0, len(most) - int(standing.sum()))
        noise[most[~standing[most]][:room]] = _MISLABELLED
        left = np.flatnonzero(noise != _MISLABELLED)
        noise[left[outvoted_copies(evidence.take(left))]] = _DUPLICATE
        return Growth(growth.core & (noise == 0), doubted, noise)

    def _promote(self, evidence: Evidence, growth: Growth, places: int) -> tuple[Growth, Caution]:
        inside = np.flatnonzero(growth.core | _eligible(evidence, growth))
        places = min(places, len(inside))
        if places <= int(growth.core.sum()):
            return growth, Caution(0.0, {})
        candidates, numbers = evidence.take(inside), drawn(evidence.ids, self.seed)[inside]
        caution = choose_caution(candidates, places / len(inside), numbers)
        held = np.flatnonzero(growth.core[inside])
        core = np.zeros(len(evidence), dtype=bool)
        core[inside[covering_core(candidates, places, caution.share, numbers, held)]] = True
        return replace(growth, core=core), caution


def sorted_by_growth(evidence: Evidence, growth: Growth) -> Assignment:
    """The sets as the core stands."""
    draft = Draft.all_edge(evidence, "redundant")
    draft.put(suspicious(evidence, 0.0), "edge", "uncertain")
    copies = extra_copies(evidence)
    draft.put(copies, "edge", "duplicate")
    core = np.flatnonzero(growth.core)
    draft.put(core, "core", "coverage")
    draft.put(last_of_its_label(evidence, core), "core", "protected")
    for reason in ("mislabelled", "duplicate"):
        draft.put(growth.noise == REASON_CODES[reason], "noise", reason)
    return draft.finished(evidence.importance_order())


def round_sizes(initial_fraction: float, core_fraction: float, rounds: int, count: int) -> list[int]:
    """How large the core of n samples is in each round: from the first to the last in equal steps."""
    first, last = share(initial_fraction, count), share(core_fraction, count)
    if rounds == 1:
        return [last]
    return [first + round((last - first) * exact(turn / (rounds - 1))) for turn in range(rounds)]


def random_by_label(labels: Ints, places: int, numbers: NDArray[np.uint64]) -> Ints:
    """The control: as many samples as the core has, drawn within each label's share. numbers: (n,) random."""
    return np.sort(first_by_label(labels, np.argsort(numbers, kind="stable"), places))


def _eligible(evidence: Evidence, growth: Growth) -> NDArray[np.bool_]:
    free: NDArray[np.bool_] = growth.noise == 0
    free &= ~(evidence.noise_probability >= CALLED)
    left = np.flatnonzero(growth.noise == 0)
    free[left[extra_copies(evidence.take(left))]] = False
    return free
