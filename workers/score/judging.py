"""From what a job knows of its samples to their places in the sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts import ScoreParams
from models.noise import Judged, NoiseEstimate, Reviewed, Trusted, estimate_noise
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
)

Ints = NDArray[np.int64]
FOLDS = 5


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
    count = len(evidence)
    nothing = np.full(count, np.nan), np.full(count, -1, dtype=np.int32)
    if params.policy != "robust":
        return Judgement(policy_of(params).assign(evidence), *nothing, {})
    estimate = _estimate(evidence, params, validation, reviewed)
    if estimate is None:
        assignment = policy_of(params).assign(evidence)
        return Judgement(assignment, *nothing, {"basis": None, **assignment.told})
    checks = None if validation is None else Checks(validation.embedding, validation.labels)
    known = replace(
        evidence, noise_probability=estimate.probability, suspicion=estimate.suspicion, checks=checks
    )
    assignment = policy_of(params).assign(known)
    told = _told(estimate, assignment, reviewed) | dict(assignment.told)
    return Judgement(assignment, estimate.probability, estimate.suggested.astype(np.int32), told)


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
    ids = [evidence.ids[i] for i in by_id.tolist()]
    judged = Judged(
        evidence.embedding[by_id], evidence.labels[by_id], _folds(ids, params.seed), evidence.classes
    )
    trusted = None
    if validation is not None and validation.trusted:
        order = np.array(sorted(range(len(validation.ids)), key=validation.ids.__getitem__), dtype=np.int64)
        folds = _folds([validation.ids[i] for i in order.tolist()], params.seed)
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


def _folds(ids: Sequence[str], seed: int) -> Ints:
    return (drawn(ids, seed) % np.uint64(FOLDS)).astype(np.int64)


def _told(estimate: NoiseEstimate, assignment: Assignment, reviewed: Reviewed | None) -> dict[str, Any]:
    noise = assignment.sets == SET_CODES["noise"]
    called = estimate.probability[noise & (assignment.reasons == REASON_CODES["mislabelled"])]
    return {
        "basis": estimate.basis,
        "rate": estimate.rate,
        "rate_range": [estimate.least, estimate.most],
        "called": len(called),
        "expected_precision": float(called.mean()) if len(called) else None,
        "reviews": 0 if reviewed is None else len(reviewed.positions),
    }
