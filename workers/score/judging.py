"""From what a job knows of its samples to their places in the sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import ScoreParams
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
    evidence: Evidence, params: ScoreParams, validation: Validation | None, reviewed: Reviewed | None
) -> Judgement:
    """Sorts n samples by the job's policy; under `robust`, estimates first whose label is wrong."""
    suggested = np.full(len(evidence), -1, dtype=np.int32)
    told: dict[str, Any] = {}
    if params.policy == "robust":
        estimate = _estimate(evidence, params, validation, reviewed)
        if estimate is not None:
            suggested = estimate.suggested.astype(np.int32)
        evidence = _known(evidence, estimate, validation, reviewed)
        assignment = policy_of(params).assign(evidence)
        told = _told(estimate, evidence, assignment, reviewed) | dict(assignment.told)
    else:
        assignment = policy_of(params).assign(evidence)
    return Judgement(assignment, evidence.noise_probability, suggested, told)


def _known(
    evidence: Evidence,
    estimate: NoiseEstimate | None,
    validation: Validation | None,
    reviewed: Reviewed | None,
) -> Evidence:
    """What is known of the labels. A person's verdict is the last word, also where nothing else is known."""
    if estimate is not None:
        evidence = replace(evidence, noise_probability=estimate.probability, suspicion=estimate.suspicion)
    if validation is not None:
        evidence = replace(evidence, checks=Checks(validation.embedding, validation.labels))
    if reviewed is None:
        return evidence
    probability, suspicion = evidence.noise_probability.copy(), evidence.suspicion.copy()
    confirmed = np.zeros(len(evidence), dtype=bool)
    probability[reviewed.positions] = reviewed.wrong
    suspicion[reviewed.positions] = np.where(reviewed.wrong, suspicion.max() + 1.0, suspicion.min() - 1.0)
    confirmed[reviewed.positions] = ~reviewed.wrong
    return replace(evidence, noise_probability=probability, suspicion=suspicion, confirmed=confirmed)


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
    evidence: Evidence, params: ScoreParams, validation: Validation | None, reviewed: Reviewed | None
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
    found = estimate_noise(judged, trusted, told, seed=params.seed)
    return replace(
        found,
        probability=found.probability[back],
        suspicion=found.suspicion[back],
        suggested=found.suggested[back],
    )


def _in_order(reviewed: Reviewed, back: Ints) -> Reviewed:
    positions = back[reviewed.positions]
    order = np.argsort(positions)
    return Reviewed(positions[order], reviewed.wrong[order])


def _told(
    estimate: NoiseEstimate | None, evidence: Evidence, assignment: Assignment, reviewed: Reviewed | None
) -> dict[str, Any]:
    noise = assignment.sets == SET_CODES["noise"]
    called = evidence.noise_probability[noise & (assignment.reasons == REASON_CODES["mislabelled"])]
    told: dict[str, Any] = {"basis": None}
    if estimate is not None:
        told = {
            "basis": estimate.basis,
            "rate": estimate.rate,
            "rate_range": [estimate.least, estimate.most],
        }
    return told | {
        "called": len(called),
        "expected_precision": float(called.mean()) if len(called) else None,
        "reviews": 0 if reviewed is None else len(reviewed.positions),
    }
