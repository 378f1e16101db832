"""Wrong labels of our own making, to learn from what a wrong label looks like.

No voice has heard the label of the sample that it speaks of, so what it would say had the label been another
one is known without training again: every sample can stand for its own mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.noise.logistic import isotonic, logistic_weights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_PLANTED = 200_000
TIMES = 3
CONFUSIONS = (0.0, 0.5, 1.0)
_UPPER = np.linspace(0.5, 0.9, 9)
_LEAST_SEEN = 5
_SURE, _UNSURE = 0.995, 0.49
_LEAST_LEVEL = 0.015
"""Below this, no label is called wrong: hard samples with right labels alone reached 0.012 on clean data."""
_UNTOLD = 0.7
"""Where planted labels and all others lie this much alike, nothing can be told."""
_LEAST_TOLD_APART, _MOST_UNEVEN = 0.85, 0.2
"""Area under ROC between planted and right labels, and the flatness beyond what chance explains. Where
classes overlap, right labels reach far up, too, and there is no level: an area of 0.76 to 0.77 on relevance
grades that the embedding hardly knows, 0.86 and more with a flatness of at most 0.19 elsewhere."""


@dataclass(frozen=True)
class Planted:
    """m samples as if they had other labels: positions and labels, (m,) each."""

    positions: Ints
    labels: Ints


def plant(said: Floats, labels: Ints, confusion: float, random: np.random.Generator) -> Planted:
    """A wrong label for each sample, three times; for 200,000 drawn ones where there are more.

    said: (n, classes). confusion: how often the wrong class is drawn by what is said of the sample, so that
    it is one that it might be mistaken for; else every other class is as likely.
    """
    count, classes = said.shape
    positions = np.repeat(np.arange(count), TIMES)
    if len(positions) > MOST_PLANTED:
        positions = np.sort(random.choice(positions, MOST_PLANTED, replace=False))
    rows = np.arange(len(positions))
    own = labels[positions]
    chances = np.ones((len(positions), classes))
    confused = random.random(len(positions)) < confusion
    chances[confused] = said[positions[confused]] + 1e-6
    chances[rows, own] = 0.0
    reached = chances.cumsum(axis=1)
    drawn = random.random(len(positions)) * reached[:, -1] * (1 - 1e-12)
    return Planted(positions, (reached <= drawn[:, None]).sum(axis=1))


@dataclass(frozen=True)
class Scale:
    """From doubts to a suspicion, and from that to the probability of a wrong label.

    weights: (voices,), at least 0. level: share of all above a high suspicion ÷ share of the planted, 0 where
    there is no sign of wrong labels, or where planted ones look like all others. least, most: of that
    quotient at different suspicions. flatness: the standard deviation of its logarithm. back: how
    often the planted label of a sample that was wrong already is the right one. knots, odds: planted against
    all, as a function of the suspicion, rising.
    """

    weights: Floats
    level: float
    least: float
    most: float
    flatness: float
    back: float
    knots: Floats
    odds: Floats

    def suspicion(self, told: tuple[Floats, Floats]) -> Floats:
        """(n,) from doubts (n, voices) and a shift (n,)."""
        return np.asarray(told[0] @ self.weights + told[1])

    def probability(self, suspicion: Floats) -> Floats:
        """(n,) level · density among the planted ÷ density among all (Elkan and Noto 2008)."""
        odds = np.interp(suspicion, self.knots, self.odds)
        return np.asarray(np.minimum(self.level * odds, _SURE if self.level >= _LEAST_LEVEL else _UNSURE))

    def rates(self) -> tuple[float, float, float]:
        """The share of wrong labels, the least and the most of it.

        A part of the planted labels is right, those that hit the truth of a sample that was wrong: level =
        rate ÷ (1 − back · rate).
        """
        least, level, most = (one / (1.0 + self.back * one) for one in (self.least, self.level, self.most))
        return level, least, most


def fit_scale(
    about_all: tuple[Floats, Floats], about_planted: tuple[Floats, Floats], *, back: float
) -> Scale:
    """Each: doubts (n, voices) and a shift (n,) that is added to the suspicion.

    The voices' weights are halfway between equal and what tells planted errors best, since real ones differ.

    If wrong labels look like the planted ones, then far up, where no right label gets, the share of all that
    lie above a suspicion is `level` times the share of the planted ones, wherever one cuts. So the level is
    the median of that quotient over the upper half of the planted; how flat it is tells how well they
    resemble. Where planted labels cannot be told from right ones, there is no such suspicion, and no level.
    """
    (all_doubts, all_shift), (planted_doubts, planted_shift) = about_all, about_planted
    told = np.concatenate([planted_doubts, all_doubts])
    planted = np.arange(len(told)) < len(planted_doubts)
    balance = np.where(planted, len(all_doubts) / len(planted_doubts), 1.0)
    fitted = logistic_weights(told, planted, balance)
    weights = fitted / fitted.sum() + 1.0 / len(fitted) if fitted.any() else np.ones(len(fitted))
    among_all = all_doubts @ weights + all_shift
    among_planted = planted_doubts @ weights + planted_shift
    cuts = np.quantile(among_planted, _UPPER)
    seen = np.array([(among_all >= cut).sum() for cut in cuts])
    kept = seen >= _LEAST_SEEN
    quotients = seen[kept] / len(among_all) / (1.0 - _UPPER[kept])
    flatness = float(np.std(np.log(quotients))) if kept.sum() >= 3 else np.inf
    level = float(np.median(quotients)) if kept.any() else 0.0
    uneven = flatness**2 - float((1.0 / seen[kept]).mean()) if np.isfinite(flatness) else 0.0
    if (
        level > _UNTOLD
        or uneven > _MOST_UNEVEN**2
        or _told_apart(among_planted, among_all, level) < _LEAST_TOLD_APART
    ):
        level, quotients = 0.0, np.zeros_like(quotients)
    knots, shares = isotonic(np.concatenate([among_planted, among_all]), planted, balance)
    odds = shares / np.maximum(1.0 - shares, 1e-6)
    least, most = (float(quotients.min()), float(quotients.max())) if kept.any() else (0.0, 0.0)
    return Scale(weights, level, least, most, flatness, back, knots, odds)


def _told_apart(planted: Floats, everyone: Floats, level: float) -> float:
    """Area under ROC between planted labels and right ones, of suspicions.

    `everyone` is a mixture, of which the share `level` is like the planted: area against all = (1 − level) ·
    area against the right ones + level ÷ 2.
    """
    ordered = np.sort(everyone)
    below = (np.searchsorted(ordered, planted, "left") + np.searchsorted(ordered, planted, "right")) / 2.0
    against_all = float(below.mean()) / len(everyone)
    return (against_all - level / 2.0) / (1.0 - level)
