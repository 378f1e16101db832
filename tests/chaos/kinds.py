"""Which jobs a storm asks for, and what each must come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.chaos.plan import Plan
from tests.chaos.truth import MAX_LENGTH

MOVING_KINDS = ("score", "grow", "score", "train", "compare")
"""Of the dataset whose training moves, in this order; each is run again afterwards, undisturbed."""
GROW_EVERY = 4
"""Of the other datasets, whose jobs else are `score` jobs."""
ROUNDS = 3
SORTING = ("score", "grow")


def kind_of(number: int, *, moving: bool) -> str:
    """Of a dataset's job of this number, from 0."""
    if moving:
        return MOVING_KINDS[number]
    return "grow" if number % GROW_EVERY == 2 else "score"


def params_of(kind: str, plan: Plan, *, moving: bool, seed: int, fresh: bool) -> dict[str, Any]:
    """Of a job whose norms are known, or of one that moves; none of them parts a lineage but `fresh`."""
    params: dict[str, Any] = {
        "num_train_epochs": plan.epochs,
        "learning_rate": 0.0,
        "per_device_train_batch_size": plan.batch,
        "max_length": MAX_LENGTH,
    }
    if moving:
        moved = {"learning_rate": 1e-3, "seed": seed, "model_config": {"hidden_dropout_prob": 0.1}}
        params |= moved
    if kind == "grow":
        params |= {"num_train_epochs": 2, "max_rounds": ROUNDS, "round_patience": ROUNDS}
    if kind == "compare":
        params |= {"num_train_epochs": 1, "subsets": ["core", "random:core"], "seeds": 2}
    if kind in SORTING and not moving:
        params["fresh"] = fresh
    return params


def planned_visits(kind: str, plan: Plan) -> int:
    """Of each sample, at most."""
    return {"score": plan.epochs, "grow": ROUNDS}.get(kind, 0)


def visits_of(job: Mapping[str, Any]) -> int:
    """What an ended job has added to each sample's visits."""
    if job["kind"] == "grow":
        return len(job["result"]["rounds"])
    return int(job["params"]["num_train_epochs"]) if job["kind"] == "score" else 0


def versions_of(job: Mapping[str, Any]) -> int:
    """Set versions that an ended job has made."""
    return 1 if job["kind"] == "score" else visits_of(job)
