"""From requests to answers."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from app.contracts.predictions import PredictionAnswer, PredictionError, PredictionRequest
from app.errors import REMEDIES, GradSiftError
from app.logs import get_logger, log_context
from app.store.connections import REFUSED, TRANSIENT
from app.store.prediction_queue import PredictionQueue, Taken
from models.errors import ModelError
from workers.predict.kept_models import KeptModel, KeptModels, Probabilities

log = get_logger(__name__)


class Unwanted(Exception):
    """Nobody waits for any of it any more."""


class Answering:
    def __init__(self, queue: PredictionQueue, models: KeptModels) -> None:
        self._queue = queue
        self._models = models

    def answer(self, taken: Taken) -> None:
        """Answers each request for which a client still waits: with predictions, or with what went wrong.

        Raises ConnectionError and its like: Redis stayed away. Its clients are told so by the API.
        """
        began = time.monotonic()
        clients = [request.request_id for request in taken.requests.values() if request.request_id]
        with log_context(job_id=taken.job, request_id=",".join(clients)):
            answers = self._answers(taken)
            for request_id, answer in answers.items():
                self._queue.answer(request_id, answer)
            texts = sum(len(taken.requests[request_id].texts) for request_id in answers)
            log.info("requests answered", texts=texts, ms=round((time.monotonic() - began) * 1000, 1))

    def _answers(self, taken: Taken) -> dict[str, PredictionAnswer]:
        try:
            return self._predictions(taken)
        except Unwanted:
            log.info("nobody waits for the predictions any more")
            return {}
        except (*TRANSIENT, REFUSED):
            raise
        except (GradSiftError, ModelError) as error:
            log.warning("model cannot be used", code=error.code, detail=error.detail)
            told = PredictionError(error.code, error.detail, error.remedy)
        except Exception as error:
            log.exception("prediction failed unexpectedly")
            code = "internal_error"
            told = PredictionError(code, f"{type(error).__name__}: {error}"[:2000], REMEDIES[code])
        return dict.fromkeys(taken.requests, PredictionAnswer(error=told))

    def _predictions(self, taken: Taken) -> dict[str, PredictionAnswer]:
        model = self._models.get(taken.job)
        wanted = self._wanted([*taken.requests])
        requests = [taken.requests[request_id] for request_id in wanted]
        probabilities = model.probabilities(
            [text for one in requests for text in one.texts],
            [pair for one in requests for pair in one.pairs],
            on_batch=lambda: self._wanted(wanted),
        )
        ends = np.cumsum([len(one.texts) for one in requests])
        parts = np.split(probabilities, ends[:-1])
        return {
            request_id: self._answer(model, request_id, request, part)
            for request_id, request, part in zip(wanted, requests, parts, strict=True)
        }

    def _answer(
        self, model: KeptModel, request_id: str, request: PredictionRequest, probabilities: Probabilities
    ) -> PredictionAnswer:
        answer = _answer(probabilities)
        if answer.error is not None or not request.attributions:
            return answer
        said = zip(request.texts, request.pairs, probabilities.argmax(axis=1).tolist(), strict=True)
        found = [
            model.attributions(text, pair, target, on_steps=lambda: self._wanted([request_id]))
            for text, pair, target in said
        ]
        return msgspec.structs.replace(answer, attributions=found)

    def _wanted(self, request_ids: Sequence[str]) -> list[str]:
        """Raises Unwanted where there are none left."""
        wanted = self._queue.wanted(request_ids)
        if not wanted:
            raise Unwanted
        return wanted


def _answer(probabilities: Probabilities) -> PredictionAnswer:
    """Of one request: (n, classes)."""
    faulty = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if not len(faulty):
        return PredictionAnswer(probabilities.tolist())
    code = "non_finite_score"
    detail = f"the model has no finite probability for the text at position {faulty[0]} (from 0)"
    remedy = "Train again with a lower learning rate, and name that job."
    return PredictionAnswer(error=PredictionError(code, detail, remedy))
