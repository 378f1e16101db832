"""Plays what a prediction needs around it: a train job that has ended, a predictor without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app.contracts import JobKind, JobState, Progress
from app.contracts.predictions import PredictionAnswer
from app.store.prediction_queue import Taken
from app.store.state import State


def ended_job(
    state: State, name: str, *, kind: str = "train", ended: str = "succeeded", **result: Any
) -> str:
    """Id of a job of the dataset; its labels are bad and good where the result names no others."""
    made, _ = state.jobs.create(state.datasets.get(name), JobKind(kind), "demo", {})
    claim = state.jobs.claim("w", 30.0)
    assert claim is not None
    succeeded = JobState(ended) is JobState.SUCCEEDED
    told = {"labels": ["bad", "good"]} | result if succeeded else None
    state.jobs.end(claim, JobState(ended), progress=Progress(), result=told)
    return made.id


def certain(texts: list[str]) -> PredictionAnswer:
    return PredictionAnswer([[0.25, 0.75]] * len(texts))


@contextmanager
def predictor(
    state: State, answers: Callable[[list[str]], PredictionAnswer] = certain, turns: int = 1
) -> Iterator[list[Taken]]:
    """Answers the next requests; what it took, for the test to look at."""
    queue, taken = state.predictions, []

    def play() -> None:
        while len(taken) < turns:
            one = queue.take("p", 32)
            if one is None:
                queue.wait(1)
                continue
            taken.append(one)
            for request_id, request in one.requests.items():
                queue.answer(request_id, answers(request.texts))

    queue.present.beat("p", 30.0)
    playing = threading.Thread(target=play)
    playing.start()
    yield taken
    playing.join()
