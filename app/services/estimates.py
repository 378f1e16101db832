"""How long a job will take, and what it will cost, from how long earlier ones took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from app.contracts import Dataset, Job, JobKind, JobState
from app.contracts.params import JobParams, TrainingParams
from app.contracts.params.kinds import PARAMS
from app.errors import GradSiftError
from app.services.work import Work, held_out, subset_sizes, work_of
from app.settings import Settings
from app.store.model_places import find_model
from app.store.state import State

EARLIER, REFERENCE = "earlier jobs", "reference speeds"
LOOKED_AT = 500
ENOUGH = 5
WAITING_LOOKED_AT = 100
NEAR, FAR, GUESS = (0.7, 1.6), (0.4, 2.5), (0.05, 4.0)
"""By what the likely time is multiplied for the lowest and the highest: by jobs of the same dataset and kind,
of the same model, and by the reference, which a GPU beats by far."""
REFERENCE_FLOPS = 40e9
"""Of training on two cores of a server, a second."""
FIXED_SECONDS = 10.0
"""Loading, sorting and writing, where nothing was measured."""
SAME_WORK = ("max_length", "model_config", "peft")


@dataclass(frozen=True)
class Measured:
    """An earlier job. rate: visits a second while it trained. rest: seconds of all that was not training."""

    work: Work
    rate: float
    rest: float

    def seconds(self, work: Work) -> float:
        """Half of what is not training, loading for one, takes as long with more samples; the rest grows."""
        growth = work.train_samples / max(1, self.work.train_samples)
        return work.visits / self.rate + self.rest * (0.5 + 0.5 * growth)


def estimate(
    state: State, settings: Settings, dataset: Dataset, kind: JobKind, model: str, params: JobParams
) -> dict[str, Any]:
    """ESTIMATE of the docs; `seconds` and `cost` are None where nothing is known to go by."""
    work = planned(state, dataset, params)
    seconds, basis, jobs = (None, None, 0)
    if work is not None:
        seconds, basis, jobs = _seconds(state, settings, dataset, kind, model, params, work)
    return {
        "steps": None if work is None else work.steps,
        "train_samples": None if work is None else work.train_samples,
        "seconds": seconds,
        "basis": basis,
        "earlier_jobs": jobs,
        "queue_seconds": _queue_seconds(state, settings),
        "cost": _cost(settings, seconds),
    }


def planned(state: State, dataset: Dataset, params: JobParams) -> Work | None:
    """None of a kind that trains nothing."""
    if not isinstance(params, TrainingParams):
        return None
    count, validation = 0, False
    for row in state.samples.counts(dataset):
        count += row["count_all"] if row["split"] == "train" and row["label"] is not None else 0
        validation |= row["split"] == "validation" and row["label"] is not None
    count -= held_out(params, count, validation=validation)
    return work_of(params, count, subset_sizes(state, dataset, params, count))


def _seconds(
    state: State,
    settings: Settings,
    dataset: Dataset,
    kind: JobKind,
    model: str,
    params: JobParams,
    work: Work,
) -> tuple[dict[str, float] | None, str | None, int]:
    near, far = _earlier(state, dataset, kind, model, params)
    for found, spread in ((near, NEAR), (far, FAR)):
        if found:
            likely = median(one.seconds(work) for one in found)
            return _range(likely, spread), EARLIER, len(found)
    flops = _flops_a_sample(settings, model, params)
    if flops is None:
        return None, None, 0
    return _range(FIXED_SECONDS + work.visits * flops / REFERENCE_FLOPS, GUESS), REFERENCE, 0


def _range(likely: float, spread: tuple[float, float]) -> dict[str, float]:
    low, high = (likely * factor for factor in spread)
    return {"low": round(low, 2), "likely": round(likely, 2), "high": round(high, 2)}


# -- what was measured ---------------------------------------------------------------------------------------
def _earlier(
    state: State, dataset: Dataset, kind: JobKind, model: str, params: JobParams
) -> tuple[list[Measured], list[Measured]]:
    """Newest first: of this dataset, kind and model; and of this model alone."""
    wanted = params.model_dump(mode="json")
    near: list[Measured] = []
    far: list[Measured] = []
    for job_id, _ in state.jobs.ids_before(None, LOOKED_AT):
        job = state.jobs.get(job_id)
        same = all(job.params.get(name) == wanted.get(name) for name in SAME_WORK)
        if job.state is not JobState.SUCCEEDED or job.model != model or not same:
            continue
        measured = _measured(job, state.jobs.ran_seconds(job_id))
        if measured is not None:
            (near if (job.dataset, job.kind) == (dataset.name, kind) else far).append(measured)
        if len(near) >= ENOUGH:
            break
    return near[:ENOUGH], far[:ENOUGH]


def _measured(job: Job, ran: float) -> Measured | None:
    """None of a job that says too little: of an earlier version, or over before its speed was known."""
    try:
        params = PARAMS[job.kind].model_validate(job.params)
    except ValidationError:
        return None
    result, rate = job.result or {}, job.progress.samples_per_second
    count, steps = result.get("train_samples"), result.get("steps")
    if not (count and steps and rate and ran):
        return None
    subsets = [one["samples"] for one in result.get("subsets", [])] or [count]
    work = work_of(params, count, subsets)
    if work is None:
        return None
    visits = round(work.visits * steps / work.steps)
    return Measured(Work(count, steps, visits), rate, max(0.0, ran - visits / rate))


# -- where nothing was ---------------------------------------------------------------------------------------
def _flops_a_sample(settings: Settings, model: str, params: JobParams) -> float | None:
    """6 for each weight of the layers and each token, if texts are half as long as they may be.

    None where the model's config is not at hand, or is of another kind than BERT's and its kin.
    """
    assert isinstance(params, TrainingParams)
    try:
        config = json.loads((Path(find_model(model, settings).source) / "config.json").read_text("utf-8"))
        config |= params.model_config_
        hidden = int(config["hidden_size"])
        layers, inner = int(config["num_hidden_layers"]), int(config.get("intermediate_size", 4 * hidden))
    except (OSError, ValueError, KeyError, TypeError, GradSiftError):
        return None
    return 6.0 * layers * (4 * hidden**2 + 2 * hidden * inner) * params.max_length / 2


# -- what stands before it, and what it costs ----------------------------------------------------------------
def _queue_seconds(state: State, settings: Settings) -> float | None:
    """What runs and waits, shared by the workers that are there; None where one of them cannot be told."""
    total = 0.0
    ids = state.jobs.unfinished()
    if len(ids) > WAITING_LOOKED_AT:
        return None
    for job_id in ids:
        left = _left(state, settings, state.jobs.get(job_id), state.jobs.dataset_uid(job_id))
        if left is None:
            return None
        total += left
    return round(total / max(1, state.jobs.present.count()), 2)


def _left(state: State, settings: Settings, job: Job, uid: str) -> float | None:
    if job.state is JobState.RUNNING and job.progress.eta_seconds is not None:
        return job.progress.eta_seconds
    dataset = state.datasets.by_uid(uid)
    if dataset is None or not job.kind.trains:
        return 0.0 if dataset is None else None
    params = PARAMS[job.kind].model_validate(job.params)
    work = planned(state, dataset, params)
    if work is None:
        return None
    seconds, _, _ = _seconds(state, settings, dataset, job.kind, job.model, params, work)
    return None if seconds is None else seconds["likely"]


def _cost(settings: Settings, seconds: dict[str, float] | None) -> dict[str, Any] | None:
    if settings.cost_per_hour is None or seconds is None:
        return None
    costs = {name: round(value / 3600 * settings.cost_per_hour, 4) for name, value in seconds.items()}
    return {**costs, "currency": settings.cost_currency}
