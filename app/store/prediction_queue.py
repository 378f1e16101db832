"""Requests for predictions, from the side of those who compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import redis

from app.contracts.predictions import PredictionAnswer, PredictionRequest
from app.store.keys import Keys
from app.store.roll import Roll
from app.store.scripts import Scripts

ANSWER_SECONDS = 10.0
"""How long an answer lies there for an API that is about to take it."""


@dataclass(frozen=True)
class Taken:
    """Requests to one model, that of `job`, by their ids; no other predictor gets them."""

    job: str
    requests: dict[str, PredictionRequest]


class PredictionQueue:
    """present: the predictors that are there."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys.predictions
        self._scripts = Scripts(client)
        self.present = Roll(client, self._keys.predictors)

    def wait(self, seconds: int) -> bool:
        """Whether a request waits, or has come within so many seconds."""
        # From the left end to the left end: that waits for an element, and leaves the queue as it is.
        return self._client.blmove(self._keys.queue, self._keys.queue, seconds, "LEFT", "LEFT") is not None

    def take(self, predictor: str, most_texts: int) -> Taken | None:
        """The oldest request, with others to the same model as long as there are no more texts in all."""
        raw = self._scripts.run(
            "predict_take", [self._keys.queue], [self._keys.asked(""), predictor, most_texts]
        )
        if not raw:
            return None
        job, *rest = cast("list[bytes]", raw)
        read = msgspec.json.Decoder(PredictionRequest).decode
        bodies = zip(rest[::2], rest[1::2], strict=True)
        return Taken(job.decode(), {request_id.decode(): read(body) for request_id, body in bodies})

    def wanted(self, request_ids: Sequence[str]) -> list[str]:
        """Those for which a client still waits."""
        pipe = self._client.pipeline(transaction=False)
        for request_id in request_ids:
            pipe.exists(self._keys.asked(request_id))
        return [one for one, there in zip(request_ids, pipe.execute(), strict=True) if there]

    def answer(self, request_id: str, answer: PredictionAnswer) -> None:
        """Does nothing where the client has given up, or has been answered."""
        self._scripts.run(
            "predict_answer",
            [self._keys.asked(request_id), self._keys.answer(request_id)],
            [msgspec.json.encode(answer), int(ANSWER_SECONDS * 1000)],
        )

    def waiting(self) -> int:
        return self._client.llen(self._keys.queue)
