"""Jobs: check the request, record it, hint the workers; cancel; list."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.contracts import Dataset, Job, JobKind, JobState, Task
from app.contracts.access import JobOrigin
from app.contracts.expressions import of_version, read_set_expression
from app.contracts.params import CompareParams, FittingParams, ImportParams, JobParams, TrainParams
from app.errors import Busy, Conflict, Invalid
from app.ingest.import_places import import_place
from app.logs import get_logger
from app.services.audit import audit_job_end
from app.services.cursors import Position, decode_cursor, encode_cursor
from app.services.datasets import train_counts
from app.services.estimates import estimate
from app.services.jobs_left import clean_up_ended
from app.services.webhook_places import check_webhook
from app.settings import Settings
from app.store.jobs import new_job_id
from app.store.model_places import check_model_name
from app.store.state import State

DEFAULT_MODEL = "demo"
Hint = Callable[[], None]
log = get_logger(__name__)


class JobsCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    before: Position


def create_job(
    state: State,
    settings: Settings,
    hint: Hint,
    *,
    dataset_name: str,
    kind: JobKind,
    model: str | None,
    params: JobParams,
    origin: JobOrigin,
    idempotency_key: str | None,
    most_queued: int | None = None,
) -> tuple[Job, bool]:
    """The job, and whether this call made it. Raises as `checked_request`, and

    Args:
        most_queued: how many jobs of the sender's API key may wait.

    Raises:
        Busy: as many jobs wait as may, of all or of the key.
        Conflict: the Idempotency-Key belongs to another request.
    """
    dataset, used, asked = checked_request(state, settings, dataset_name, kind, model, params, origin)
    # The uid, not the name: a dataset that was deleted and made again is another one.
    sent = [dataset.uid, kind, used, params.model_dump(mode="json")]
    sent += [] if origin.webhook is None else [origin.webhook]
    request = json.dumps(sent, sort_keys=True)
    shown = asked.model_dump(mode="json")
    key = None if idempotency_key is None else (idempotency_key, request)
    job_id, most = new_job_id(), settings.max_queued_jobs
    job, created = state.durably(
        lambda: state.jobs.create(
            dataset, kind, used, shown, key, job_id, origin, most_waiting=most, most_queued=most_queued
        )
    )
    if created:
        log.info("job queued", job_id=job.id, dataset=dataset.name, kind=kind.value)
        state.archive.save_job(job.id)
        hint()
    return job, created


def dry_run(
    state: State,
    settings: Settings,
    *,
    dataset_name: str,
    kind: JobKind,
    model: str | None,
    params: JobParams,
    origin: JobOrigin,
) -> dict[str, Any]:
    """What the job would be, and an estimate of it: nothing is recorded. Raises as `checked_request`, and

    Raises:
        Busy: as many jobs wait as may.
    """
    dataset, used, asked = checked_request(state, settings, dataset_name, kind, model, params, origin)
    if state.jobs.waiting() >= settings.max_queued_jobs:
        raise Busy("queue_full", f"{settings.max_queued_jobs} jobs wait already, the most that may")
    return {
        "kind": kind,
        "dataset": dataset.name,
        "model": used or None,
        "params": asked.model_dump(mode="json"),
        "estimate": estimate(state, settings, dataset, kind, used, asked),
    }


def checked_request(
    state: State,
    settings: Settings,
    dataset_name: str,
    kind: JobKind,
    model: str | None,
    params: JobParams,
    origin: JobOrigin,
) -> tuple[Dataset, str, JobParams]:
    """The dataset, the model that is used, and the params as of now.

    Raises:
        NotFound: unknown dataset, or set version to train on.
        Invalid, Forbidden: a model or a webhook that cannot be used, or a dataset that cannot be trained on.
        Conflict: the job would replace splits in use; flags are to exclude samples, but there are none.
    """
    if origin.webhook is not None:
        check_webhook(origin.webhook, settings)
    dataset = state.datasets.get(dataset_name)
    used = _checked_model(model, kind, settings)
    if isinstance(params, ImportParams):
        import_place(params.url, settings)
    if kind.trains:
        _refuse_loss_of_grades(dataset, params)
        _refuse_untrainable(train_counts(state, dataset), dataset_name)
        _refuse_uncleaned(state, dataset)
    if kind is JobKind.SPLIT:
        state.splits.refuse_used(dataset)
    if kind is JobKind.LABEL and not state.events.log.count(dataset):
        raise Invalid("no_events", f"dataset {dataset_name!r} has no events to make samples of")
    return dataset, used, _with_version(state, dataset, params)


def cancel_job(state: State, settings: Settings, job_id: str) -> Job:
    """Asks the job to stop, and answers it.

    Raises:
        NotFound: unknown job.
        Conflict: it has succeeded or failed already.
    """
    since = state.durability.incarnation()
    before = state.jobs.cancel(job_id)
    if before in (JobState.SUCCEEDED, JobState.FAILED):
        raise Conflict("job_finished", f"job {job_id} has {before.value} already")
    state.make_durable(since=since)
    if before is JobState.QUEUED:
        audit_job_end(state, job_id)
        clean_up_ended(state, settings, job_id)
    return state.jobs.get(job_id)


def list_jobs(
    state: State,
    reaches: Callable[[str], bool],
    *,
    dataset: str | None,
    job_state: JobState | None,
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    """Jobs of the datasets that the caller reaches, newest first."""
    bound: float | None = None if cursor is None else decode_cursor(cursor, JobsCursor).before
    items: list[Job] = []
    while True:
        places = state.jobs.ids_before(bound, 200)
        for job_id, place in places:
            if len(items) == limit:
                return {"items": items, "next_cursor": encode_cursor(JobsCursor(before=int(bound or 0)))}
            job = state.jobs.get(job_id)
            if reaches(job.dataset) and dataset in (None, job.dataset) and job_state in (None, job.state):
                items.append(job)
            bound = place
        if len(places) < 200:
            return {"items": items, "next_cursor": None}


def state_changes(job: Job) -> list[Job]:
    """The job at each of its state changes, the present one last.

    They follow from the attempts: each one was claimed from the queue, and all but the last went back to it.
    """
    running = [JobState.RUNNING, JobState.QUEUED] * job.attempt
    states = [JobState.QUEUED, *running]
    if job.state is not JobState.QUEUED and job.attempt:
        states.pop()
    if job.state.ended:
        states.append(job.state)
    unended = {"finished_at": None, "result": None, "error": None}
    earlier = [job.model_copy(update={"state": state, **unended}) for state in states[:-1]]
    return [*earlier, job]


def shown_job(job: Job) -> Mapping[str, Any]:
    """JOB of the contract."""
    return job.model_dump(mode="json") | {"model": job.model or None}


def _checked_model(model: str | None, kind: JobKind, settings: Settings) -> str:
    """The model that the job uses; empty for kinds that train none."""
    if not kind.trains:
        if model is not None:
            raise Invalid("model_unused", f"a job of kind {kind.value} trains no model")
        return ""
    name = DEFAULT_MODEL if model is None else model
    check_model_name(name, settings)
    return name


def _with_version(state: State, dataset: Dataset, params: JobParams) -> JobParams:
    """A job that trains on sets means those of now, whatever is published while it waits."""
    if isinstance(params, TrainParams) and read_set_expression(params.set).needs_version:
        version = state.sets.version(dataset, params.version)
        return params.model_copy(update={"version": version.version})
    if isinstance(params, CompareParams):
        subsets = dict.fromkeys(_versioned(state, dataset, text) for text in params.subsets)
        return params.model_copy(update={"subsets": list(subsets)})
    return params


def _versioned(state: State, dataset: Dataset, text: str) -> str:
    expression = read_set_expression(text)
    if not expression.names:
        return text
    version = state.sets.version(dataset, expression.version).version
    return of_version(text, version) if expression.version is None else text


def _refuse_loss_of_grades(dataset: Dataset, params: JobParams) -> None:
    loss = params.loss if isinstance(params, FittingParams) else "cross_entropy"
    if loss != "cross_entropy" and dataset.task is not Task.RELEVANCE:
        raise Invalid(
            "loss_needs_grades",
            f"loss {loss} is of grades; dataset {dataset.name!r} of task {dataset.task.value} has none",
        )


def _refuse_uncleaned(state: State, dataset: Dataset) -> None:
    """A clean job that waits or runs will do: jobs of a dataset run one after the other, oldest first."""
    if not dataset.settings.exclude_flags or state.flags.job_in_force(dataset) is not None:
        return
    unfinished = (state.jobs.get(job_id) for job_id in state.jobs.unfinished_of(dataset.uid))
    if not any(job.kind is JobKind.CLEAN for job in unfinished):
        flags = ", ".join(flag.value for flag in dataset.settings.exclude_flags)
        detail = (
            f"samples of {dataset.name!r} with the flags {flags} are to be excluded, but none were cleaned"
        )
        raise Conflict("not_cleaned", detail)


def _refuse_untrainable(counts: Mapping[str, int], dataset: str) -> None:
    if not counts:
        raise Invalid("dataset_empty", f"dataset {dataset!r} has no labelled train samples")
    if len(counts) < 2:
        only = next(iter(counts))
        raise Invalid(
            "too_few_classes", f"every labelled train sample of {dataset!r} has the one label {only!r}"
        )
