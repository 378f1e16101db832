"""Who finds wrong labels, and who chooses a core: ours and the peers, on the same embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from quality_data import Ints, Setting
from quality_tuned import FineTuned
from sklearn.linear_model import LogisticRegression

from models.noise import Judged, NoiseEstimate, Reviewed, Trusted, estimate_noise
from models.noise.discriminant import FOLDS
from models.selection import CcsPolicy, Checks, Evidence, RandomPolicy, RobustPolicy, SeedPolicy, TopKPolicy
from models.selection.shares import first_by_label, share

Floats = NDArray[np.float64]
STRENGTHS = (1.0, 10.0)
REVIEWS = 200


@dataclass(frozen=True)
class Found:
    """suspicion: (n,). judged: (n,) bool, the rows that count: reviewed ones do not. probability: (n,) that
    the label is wrong, where the method states one. ambiguity: (n,) of the class, likewise."""

    suspicion: Floats
    judged: NDArray[np.bool_]
    probability: Floats | None = None
    ambiguity: Floats | None = None


def folds(count: int, seed: int) -> Ints:
    return np.random.default_rng(seed).permutation(np.arange(count) % FOLDS)


def classifier(rows: NDArray[np.float32], labels: Ints, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300).fit(rows, labels)


def probabilities(model: LogisticRegression, rows: NDArray[np.float32], classes: int) -> Floats:
    found = np.full((len(rows), classes), 1e-9)
    found[:, model.classes_] = model.predict_proba(rows)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


# -- noise ---------------------------------------------------------------------------------------------------
def reviewed_rows(setting: Setting, seed: int) -> Ints:
    """200 random rows whose labels people looked at."""
    return np.sort(np.random.default_rng(500 + seed).choice(len(setting.given), REVIEWS, replace=False))


def ours(setting: Setting, seed: int, *, trusted: bool, reviewed: bool) -> Found:
    judged = Judged(setting.train_rows, setting.given, folds(len(setting.given), seed), setting.classes)
    split = Trusted(setting.validation_rows, setting.validation, folds(len(setting.validation), seed))
    rows = reviewed_rows(setting, seed)
    told = Reviewed(rows, setting.wrong[rows]) if reviewed else None
    found: NoiseEstimate = estimate_noise(judged, split if trusted else None, told, seed=seed)
    return Found(found.suspicion, _unreviewed(setting, seed, reviewed), found.probability, found.ambiguity)


def _unreviewed(setting: Setting, seed: int, reviewed: bool) -> NDArray[np.bool_]:
    left = np.ones(len(setting.given), dtype=bool)
    left[reviewed_rows(setting, seed)] = not reviewed
    return left


def cleanlab(setting: Setting, seed: int, strength: float, score: str, *, told: bool) -> Found:
    """Out-of-fold logistic regression on the embedding. Told the trusted split and the reviews, it trains on
    those rows with their right labels, too."""
    labels = setting.given.copy()
    if told:
        rows = reviewed_rows(setting, seed)
        labels[rows] = setting.true[rows]
    said = np.zeros((len(labels), setting.classes))
    fold = folds(len(labels), seed)
    for one in range(FOLDS):
        inside = fold != one
        train, answers = setting.train_rows[inside], labels[inside]
        if told:
            train = np.concatenate([train, setting.validation_rows])
            answers = np.concatenate([answers, setting.validation])
        said[~inside] = probabilities(
            classifier(train, answers, strength), setting.train_rows[~inside], setting.classes
        )
    quality = get_label_quality_scores(setting.given, said, method=score)
    return Found(1.0 - quality, _unreviewed(setting, seed, told))


def tuned_methods(setting: Setting, seed: int, tuned: FineTuned) -> Iterator[tuple[str, Callable[[], Found]]]:
    """By fine-tuned models: five of one fold each left out, and one of all rows."""
    judged = np.ones(len(setting.given), dtype=bool)
    fold = folds(len(setting.given), seed)
    for score in ("self_confidence", "normalized_margin"):
        yield (
            f"cleanlab fine-tuned {score}",
            lambda m=score: Found(1.0 - tuned.label_quality(fold, m), judged),
        )
    yield "AUM fine-tuned", lambda: Found(-tuned.visits().aum, judged)
    yield "EL2N fine-tuned", lambda: Found(tuned.visits().el2n, judged)
    yield "S_i fine-tuned", lambda: Found(tuned.visits().importance, judged)


def noise_methods(
    setting: Setting, seed: int, tuned: FineTuned | None
) -> Iterator[tuple[str, Callable[[], Found]]]:
    for told in (False, True):
        for strength in STRENGTHS:
            for score in ("self_confidence", "normalized_margin"):
                name = f"cleanlab C={strength:g} {score}{', told' if told else ''}"
                yield name, lambda s=strength, m=score, t=told: cleanlab(setting, seed, s, m, told=t)
    yield "ours", lambda: ours(setting, seed, trusted=False, reviewed=False)
    yield "ours, trusted validation", lambda: ours(setting, seed, trusted=True, reviewed=False)
    yield "ours, 200 reviews", lambda: ours(setting, seed, trusted=False, reviewed=True)
    yield "ours, told", lambda: ours(setting, seed, trusted=True, reviewed=True)
    if tuned is not None and setting.wrong.any():
        yield from tuned_methods(setting, seed, tuned)


# -- core ----------------------------------------------------------------------------------------------------
def core_methods(
    setting: Setting, fraction: float, seed: int, tuned: FineTuned | None
) -> Iterator[tuple[str, Callable[[], Ints]]]:
    """Positions of each method's core. Importance, unless a fine-tuned model's, is that of a trained linear
    probe: the norm of a sample's own gradient, which is its EL2N here, since all rows have length 1."""
    count = len(setting.given)
    ids = [f"s{i:06}" for i in range(count)]

    @cache
    def plain() -> Evidence:
        model = classifier(setting.train_rows, setting.given, 10.0)
        said = probabilities(model, setting.train_rows, setting.classes)
        importance = np.linalg.norm(said - np.eye(setting.classes)[setting.given], axis=1)
        return Evidence(ids, setting.given, setting.classes, importance)

    def visited(tuned: FineTuned) -> Evidence:
        return Evidence(ids, setting.given, setting.classes, tuned.visits().importance)

    def robust(trusted: bool) -> Ints:
        found = ours(setting, seed, trusted=trusted, reviewed=False)
        assert found.probability is not None
        assert found.ambiguity is not None
        evidence = replace(
            plain(),
            embedding=setting.train_rows,
            noise_probability=found.probability,
            suspicion=found.suspicion,
            ambiguity=found.ambiguity,
            checks=Checks(setting.validation_rows, setting.validation),
        )
        return _core(RobustPolicy(fraction, None, seed), evidence)

    yield "full", lambda: np.arange(count)
    for draw in range(5):
        by = 10 * seed + draw
        yield f"random, draw {draw}", lambda by=by: _core(RandomPolicy(fraction, by), plain())
        yield f"random by label, draw {draw}", lambda by=by: _stratified(setting, fraction, by)
    yield "seed (highest S_i)", lambda: _core(SeedPolicy(fraction, 0.1), plain())
    yield "top_k (EL2N by label)", lambda: _core(TopKPolicy(fraction), plain())
    yield "ccs", lambda: _core(CcsPolicy(fraction, 0.2, seed), plain())
    yield "cleanlab, best by label", lambda: _cleanest(setting, fraction, seed)
    yield "robust", lambda: robust(False)
    yield "robust, trusted validation", lambda: robust(True)
    if tuned is not None:
        yield "seed (fine-tuned S_i)", lambda: _core(SeedPolicy(fraction, 0.1), visited(tuned))
        yield "ccs (fine-tuned S_i)", lambda: _core(CcsPolicy(fraction, 0.2, seed), visited(tuned))
        yield "AUM, best by label", lambda: _by_label(setting, fraction, -tuned.visits().aum)


def _core(
    policy: RandomPolicy | SeedPolicy | TopKPolicy | CcsPolicy | RobustPolicy, evidence: Evidence
) -> Ints:
    return np.flatnonzero(policy.assign(evidence).sets == 1)


def _stratified(setting: Setting, fraction: float, seed: int) -> Ints:
    random = np.random.default_rng(seed)
    return _by_label(setting, fraction, random.random(len(setting.given)))


def _cleanest(setting: Setting, fraction: float, seed: int) -> Ints:
    return _by_label(setting, fraction, cleanlab(setting, seed, 1.0, "self_confidence", told=False).suspicion)


def _by_label(setting: Setting, fraction: float, scores: Floats) -> Ints:
    """The lowest of each label."""
    places = share(fraction, len(setting.given))
    return first_by_label(setting.given, np.argsort(scores, kind="stable"), places)


def accuracy(setting: Setting, core: Ints) -> float:
    """Of a linear probe on the test rows, trained to the end on the core."""
    model = classifier(setting.train_rows[core], setting.given[core], 10.0)
    return float((model.predict(setting.test_rows) == setting.test).mean())
