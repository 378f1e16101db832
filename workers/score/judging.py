"""From what a job knows of its samples to their places in the sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import ScoreParams, SortingParams
from models.noise import Judged, NoiseEstimate, Reviewed, Trusted, estimate_noise, folds_of
from models.noise.estimate import LEAST_JUDGED
from models.selection import (
    REASON_CODES,
    SET_CODES,
    Assignment,
    CcsPolicy,
    Checks,
    Evidence,
    Policy,
    RandomPolicy,
    RobustPolicy,
    SeedPolicy,
    TopKPolicy,
    drawn,
    order_of,
)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Validation:
    """m validation samples: their ids, embedding (m, dim) and labels (m,); trusted: that their labels are
    right."""

    ids: Sequence[str]
    embedding: NDArray[np.float32]
    labels: Ints
    trusted: bool


@dataclass(frozen=True)
class Judgement:
    """What came of it. told: for the job's result."""

    assignment: Assignment
    noise: NDArray[np.float64]
    suggested: NDArray[np.int32]
    told: Mapping[str, Any]


def judge(
    evidence: Evidence,
    params: ScoreParams,
    validation: Validation | None,
    reviewed: Reviewed | None,
    heard: NDArray[np.float64] | None = None,
) -> Judgement:
    """Sorts n samples by the job's policy; under `robust`, estimates first whose label is wrong.

    heard: one more voice, see `estimate_noise`.
    """
    policy = policy_of(params)
    if params.policy == "robust":
        known = know(evidence, params, validation, reviewed, heard)
        return known.judgement(policy.assign(known.evidence))
    nothing = np.full(len(evidence), np.nan), np.full(len(evidence), -1, dtype=np.int32)
    return Judgement(policy.assign(evidence), *nothing, {})


@dataclass(frozen=True)
class Known:
    """What is known of the labels of n samples, and from whom; estimate: None of too few."""

    evidence: Evidence
    estimate: NoiseEstimate | None
    reviews: int

    def judgement(self, assignment: Assignment) -> Judgement:
        """With what the job's result tells of it."""
        probability, estimate = self.evidence.noise_probability, self.estimate
        noise = assignment.sets == SET_CODES["noise"]
        called = probability[noise & (assignment.reasons == REASON_CODES["mislabelled"])]
        told: dict[str, Any] = {"basis": None}
        suggested = np.full(len(probability), -1, dtype=np.int32)
        if estimate is not None:
            told = {
                "basis": estimate.basis,
                "rate": estimate.rate,
                "rate_range": [estimate.least, estimate.most],
            }
            suggested = estimate.suggested.astype(np.int32)
        told |= {
            "called": len(called),
            "expected_precision": float(called.mean()) if len(called) else None,
            "reviews": self.reviews,
        }
        return Judgement(assignment, probability, suggested, told | dict(assignment.told))


def know(
    evidence: Evidence,
    params: SortingParams,
    validation: Validation | None,
    reviewed: Reviewed | None,
    heard: NDArray[np.float64] | None = None,
) -> Known:
    """Estimates whose label is wrong. A person's verdict is the last word, also where nothing else is known.

    heard: one more voice, see `estimate_noise`.
    """
    estimate = _estimate(evidence, params, validation, reviewed, heard)
    if estimate is not None:
        evidence = replace(
            evidence,
            noise_probability=estimate.probability,
            suspicion=estimate.suspicion,
            ambiguity=estimate.ambiguity,
        )
    if validation is not None:
        evidence = replace(evidence, checks=Checks(validation.embedding, validation.labels))
    if reviewed is None:
        return Known(evidence, estimate, 0)
    probability, suspicion = evidence.noise_probability.copy(), evidence.suspicion.copy()
    verdicts = np.zeros(len(evidence), dtype=np.int8)
    probability[reviewed.positions] = reviewed.wrong
    suspicion[reviewed.positions] = np.where(reviewed.wrong, suspicion.max() + 1.0, suspicion.min() - 1.0)
    verdicts[reviewed.positions] = np.where(reviewed.wrong, -1, 1)
    evidence = replace(evidence, noise_probability=probability, suspicion=suspicion, verdicts=verdicts)
    return Known(evidence, estimate, len(reviewed.positions))


def policy_of(params: ScoreParams) -> Policy:
    core, noise = params.core_fraction, params.noise_fraction
    if params.policy == "seed":
        return SeedPolicy(core, noise or 0.0)
    if params.policy == "ccs":
        return CcsPolicy(core, noise or 0.0, params.seed)
    if params.policy == "top_k":
        return TopKPolicy(core)
    if params.policy == "random":
        return RandomPolicy(core, params.seed)
    return RobustPolicy(core, noise, params.seed)


def _estimate(
    evidence: Evidence,
    params: SortingParams,
    validation: Validation | None,
    reviewed: Reviewed | None,
    heard: NDArray[np.float64] | None,
) -> NoiseEstimate | None:
    """In the order of the ids, so that no other order of the samples can show; None of too few."""
    if evidence.embedding is None or len(evidence) < LEAST_JUDGED:
        return None
    by_id = evidence.by_id()
    back = np.argsort(by_id)
    folds = folds_of(drawn([evidence.ids[i] for i in by_id.tolist()], params.seed))
    judged = Judged(evidence.embedding[by_id], evidence.labels[by_id], folds, evidence.classes)
    trusted = None
    if validation is not None and validation.trusted:
        order = order_of(validation.ids)
        folds = folds_of(drawn([validation.ids[i] for i in order.tolist()], params.seed))
        trusted = Trusted(validation.embedding[order], validation.labels[order], folds)
    told = None if reviewed is None else _in_order(reviewed, back)
    voice = None if heard is None else heard[by_id]
    found = estimate_noise(judged, trusted, told, heard=voice, seed=params.seed)
    return replace(
        found,
        probability=found.probability[back],
        suspicion=found.suspicion[back],
        ambiguity=found.ambiguity[back],
        suggested=found.suggested[back],
    )


def _in_order(reviewed: Reviewed, back: Ints) -> Reviewed:
    positions = back[reviewed.positions]
    order = np.argsort(positions)
    return Reviewed(positions[order], reviewed.wrong[order])
