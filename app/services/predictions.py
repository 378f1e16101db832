"""Predictions by a trained model: which model is meant, what is asked of a predictor, what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.contracts import Dataset, Job, JobKind, JobState, Label, Task
from app.contracts.predictions import PredictionError, PredictionRequest
from app.errors import Conflict, GradSiftError, Invalid, NotFound
from app.settings import Settings
from app.store.state import State

MOST_TEXTS = 256
MOST_ATTRIBUTED = 16
"""Attributions of a text take a hundred times as long as its prediction."""


@dataclass(frozen=True)
class TrainedModel:
    """labels: by class index. text_pairs: whether "all", "some" or "none" of its train samples had a second
    text; None where its job did not say yet."""

    job: str
    task: Task
    labels: Sequence[Label]
    text_pairs: str | None


def trained_model(state: State, dataset: Dataset, job_id: str | None) -> TrainedModel:
    """The model that a train job of the dataset left; that of the newest one where none is named.

    Raises:
        NotFound: the dataset has no such job, or no train job that has succeeded.
        Conflict: the job has left no model.
    """
    if job_id is None:
        job_id = state.jobs.newest_succeeded(dataset.uid, JobKind.TRAIN)
        if job_id is None:
            raise NotFound("no_model_yet", f"no train job of dataset {dataset.name!r} has succeeded")
    if state.jobs.dataset_uid(job_id) != dataset.uid:  # another's job is told of as one that there is not
        raise NotFound("unknown_job", f"dataset {dataset.name!r} has no job {job_id!r}")
    job = state.jobs.get(job_id)
    if (reason := _without_model(job)) is not None:
        raise Conflict("job_without_model", f"job {job_id} {reason}")
    assert job.result is not None
    return TrainedModel(job_id, dataset.task, job.result["labels"], job.result.get("text_pairs"))


def _without_model(job: Job) -> str | None:
    if job.kind is not JobKind.TRAIN:
        return f"is of kind {job.kind.value}"
    return None if job.state is JobState.SUCCEEDED else f"has not succeeded: it is {job.state.value}"


async def predict(
    state: State, settings: Settings, model: TrainedModel, request: PredictionRequest
) -> dict[str, Any]:
    """The predictions in the order of the texts. If the caller is cancelled, nothing is computed any more.

    Raises:
        Invalid: a text is too long, or has a second one where the train samples had none, or the reverse.
        Conflict: the model cannot be used.
        Unavailable, TimedOut: no predictor answers.
    """
    _check_texts(request, settings.max_text_chars)
    _check_pairs(request.pairs, model)
    answer = await state.prediction_desk.ask(
        model.job,
        request,
        seconds=settings.predict_seconds,
        longest_queue=settings.predict_queue,
        most_bytes=settings.max_body_bytes,
    )
    if answer.error is not None:
        raise _as_error(answer.error)
    assert answer.probabilities is not None
    predictions = [_shown(model, probabilities) for probabilities in answer.probabilities]
    for shown, tokens in zip(predictions, answer.attributions or [], strict=False):
        shown["attributions"] = msgspec.to_builtins(tokens)
    return {"job": model.job, "labels": model.labels, "predictions": predictions}


def _shown(model: TrainedModel, probabilities: list[float]) -> dict[str, Any]:
    """The label is the most probable one, the first of them on a tie."""
    highest = max(probabilities)
    label = model.labels[probabilities.index(highest)]
    shown = {"label": label, "probability": highest, "probabilities": probabilities}
    if model.task is Task.RELEVANCE:
        grades = (float(grade) for grade in model.labels)
        shown["grade"] = sum(p * grade for p, grade in zip(probabilities, grades, strict=True))
    return shown


def _check_texts(request: PredictionRequest, max_text_chars: int) -> None:
    errors = [
        {
            "pointer": f"/texts/{index}/{name}",
            "detail": f"{len(text)} characters, the limit is {max_text_chars}",
        }
        for name, texts in (("text", request.texts), ("text_pair", request.pairs))
        for index, text in enumerate(texts)
        if text is not None and len(text) > max_text_chars
    ]
    if errors:
        first = errors[0]
        raise Invalid("text_too_long", f"{first['pointer']}: {first['detail']}", errors=errors)


def _check_pairs(pairs: Sequence[str | None], model: TrainedModel) -> None:
    if model.text_pairs not in ("all", "none"):
        return
    wanted = model.text_pairs == "all"
    pointers = [f"/texts/{index}" for index, pair in enumerate(pairs) if (pair is not None) is not wanted]
    if pointers:
        detail = f"{model.text_pairs} of the samples that job {model.job} trained on had a `text_pair`"
        errors = [{"pointer": pointer, "detail": detail} for pointer in pointers]
        raise Invalid("pair_mismatch", f"{pointers[0]}: {detail}", errors=errors)


def _as_error(error: PredictionError) -> GradSiftError:
    kind = GradSiftError if error.code == "internal_error" else Conflict
    return kind(error.code, error.detail, remedy=error.remedy)
