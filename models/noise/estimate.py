"""The probability that a label is wrong, from all the evidence there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.noise.discriminant import fit_discriminant
from models.noise.logistic import logistic_fit
from models.noise.neighbours import Floats32
from models.noise.planting import CONFUSIONS, fit_scale, plant
from models.noise.voices import Floats, Ints, Judged, consensus, doubt, doubts, filled, voices_of

Basis = Literal["planted", "trusted_validation", "reviews"]

LEAST_JUDGED = 50
"""Of fewer nothing can be said."""
_CLASS_PULL = 100.0
"""A class is taken for average as if that had been seen of a hundred more samples: small ones stay near
it."""
_CLASS_SHARE = 0.5
_REVIEWS_FOR_CLASSES = 20


@dataclass(frozen=True)
class Trusted:
    """m samples whose labels are right: rows (m, dim), labels and folds (m,)."""

    rows: Floats32
    labels: Ints
    folds: Ints


@dataclass(frozen=True)
class Reviewed:
    """r verdicts of people: positions among the judged, and whether the label there is wrong."""

    positions: Ints
    wrong: NDArray[np.bool_]


@dataclass(frozen=True)
class NoiseEstimate:
    """probability: (n,) that the label is wrong. suspicion: (n,) what it rises with, also where it is flat.
    ambiguity: (n,) how undecided the evidence is about the class, whatever the label, from 0 to 1. suggested:
    (n,) the class that the evidence speaks for, −1 where that is the label's. rate: the share of wrong
    labels; least, most: how far the evidence for it goes apart. basis: what the scale rests on, `planted`
    errors alone, a `trusted_validation` split or `reviews`.
    """

    probability: Floats
    suspicion: Floats
    ambiguity: Floats
    suggested: Ints
    rate: float
    least: float
    most: float
    basis: Basis


def estimate_noise(
    judged: Judged,
    trusted: Trusted | None = None,
    reviewed: Reviewed | None = None,
    *,
    heard: Floats | None = None,
    seed: int = 0,
) -> NoiseEstimate:
    """Judge n labels, n ≥ LEAST_JUDGED, by voices that have not heard them.

    Without reviews, the scale comes from planted errors: it is right for errors that look like those, and
    silent about others. People err where samples are ambiguous, and from the labels alone their errors cannot
    be told from honest hard cases: a trusted validation split ranks them better, reviews put them on a scale.
    heard: one more voice (n, classes), such as that of models that were trained on other samples, as log
    probabilities that are as sure as it is right; NaN for samples that it has not spoken of.
    """
    voices = voices_of(judged)
    if heard is not None:
        voices.append(filled(heard, voices))
    if trusted is None:
        found = _by_planting(judged, voices, seed)
    else:
        found = _by_trust(judged, voices, trusted, seed)
    return found if reviewed is None or not len(reviewed.positions) else _by_reviews(judged, found, reviewed)


def _by_planting(judged: Judged, voices: list[Floats], seed: int) -> NoiseEstimate:
    said = consensus(voices)
    shift = _class_shift(said, judged)

    def told(positions: Ints, labels: Ints) -> tuple[Floats, Floats]:
        return doubts(voices, positions, labels), shift[labels]

    return _on_planted_scale(judged, said, told, "planted", seed)


def _by_trust(judged: Judged, voices: list[Floats], trusted: Trusted, seed: int) -> NoiseEstimate:
    """The trusted samples speak as one more voice, as loud as all the others together.

    Their own suspicions would be a tempting scale, but not a right one: among people's labels the right ones
    are on the easy samples, and a trusted split holds the others too (docs/decisions/0013).
    """
    said = fit_discriminant(trusted.rows, trusted.labels, trusted.folds, judged.classes).say(judged.rows)

    def told(positions: Ints, labels: Ints) -> tuple[Floats, Floats]:
        together = doubts(voices, positions, labels).mean(axis=1) + doubt(said, positions, labels)
        return together[:, None], np.zeros(len(positions))

    return _on_planted_scale(judged, consensus([*voices, said]), told, "trusted_validation", seed)


def _on_planted_scale(
    judged: Judged,
    said: Floats,
    told: Callable[[Ints, Ints], tuple[Floats, Floats]],
    basis: Basis,
    seed: int,
) -> NoiseEstimate:
    """told: the doubts (m, voices) and the shift (m,) of samples at positions (m,), had they labels (m,)."""
    about_all = told(np.arange(len(judged)), judged.labels)
    scales = []
    for confusion in CONFUSIONS:
        planted = plant(said, judged.labels, confusion, np.random.default_rng(seed))
        back = confusion + (1.0 - confusion) / max(judged.classes - 1, 1)
        scales.append(fit_scale(about_all, told(planted.positions, planted.labels), back=back))
    scale = min(scales, key=lambda one: one.flatness)
    suspicion = scale.suspicion(about_all)
    rate, least, most = scale.rates()
    return NoiseEstimate(
        probability=scale.probability(suspicion),
        suspicion=suspicion,
        ambiguity=_ambiguity(said),
        suggested=_suggested(said, judged.labels),
        rate=rate,
        least=least,
        most=most,
        basis=basis,
    )


def _class_shift(said: Floats, judged: Judged) -> Floats:
    """(classes,) half the logarithm of how much more often than on average a class is contradicted."""
    contradicted = 1.0 - said[np.arange(len(judged)), judged.labels]
    average = contradicted.mean()
    sums = np.bincount(judged.labels, weights=contradicted, minlength=judged.classes)
    counts = np.bincount(judged.labels, minlength=judged.classes)
    rates = (sums + _CLASS_PULL * average) / (counts + _CLASS_PULL)
    return np.asarray(_CLASS_SHARE * np.log(rates / average))


def _by_reviews(judged: Judged, before: NoiseEstimate, reviewed: Reviewed) -> NoiseEstimate:
    """Verdicts put the suspicion on a scale of their own, and say which classes are wrong more often.

    Logistic in the suspicion and, with few classes, one term each; the prior is what was believed before.
    """
    scores = (before.suspicion - before.suspicion.mean()) / (before.suspicion.std() + 1e-9)
    by_class = judged.classes <= _REVIEWS_FOR_CLASSES
    terms = np.eye(judged.classes)[judged.labels] if by_class else np.zeros((len(judged), 0))
    inputs = np.column_stack([scores, np.ones(len(judged)), terms])
    believed = np.clip(before.probability, 0.001, 0.99)
    slope, level = np.polyfit(scores, np.log(believed / (1.0 - believed)), 1)
    centre = np.concatenate([[max(slope, 0.5), level], np.zeros(terms.shape[1])])
    precision = np.concatenate([[1.0, 0.1], np.ones(terms.shape[1])])
    ones = np.ones(len(reviewed.positions))
    found = logistic_fit(inputs[reviewed.positions], reviewed.wrong, ones, centre, precision)
    found[0] = max(found[0], 0.05)
    suspicion = inputs @ found
    probability = 1.0 / (1.0 + np.exp(-np.clip(suspicion, -30, 30)))
    probability[reviewed.positions] = reviewed.wrong
    error = float(np.sqrt(max(reviewed.wrong.mean() * (1 - reviewed.wrong.mean()), 0.01) / len(ones)))
    rate = float(probability.mean())
    return replace(
        before,
        probability=probability,
        suspicion=suspicion,
        rate=rate,
        least=max(0.0, rate - 2 * error),
        most=min(1.0, rate + 2 * error),
        basis="reviews",
    )


def _ambiguity(said: Floats) -> Floats:
    """One minus by how much the likeliest class leads."""
    two = np.partition(said, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (two[:, 1] - two[:, 0]))


def _suggested(said: Floats, labels: Ints) -> Ints:
    best = said.argmax(axis=1)
    return np.where(best == labels, -1, best)
