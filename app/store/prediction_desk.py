"""Requests for predictions, from the side of those who ask, on an event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.contracts.predictions import PredictionAnswer, PredictionRequest
from app.errors import TimedOut, Unavailable
from app.logs import bound
from app.store.connections import TRANSIENT
from app.store.keys import Keys
from app.store.scripts import Value, script_digest, script_source
from app.store.wire import SILENCE_SECONDS

LOOK_SECONDS = 1.0
"""How often a request that has no answer yet asks whether one can still come."""
_REFUSALS = {
    "nobody": ("no_predictor", "no predictor is there"),
    "full": ("predictors_busy", "as many requests as may wait for a predictor do so already"),
    "lost": ("predictor_lost", "the predictor that took the request is gone, and the request with it"),
}
_RETRIES, _PAUSE_SECONDS = 10, 0.1


class PredictionDesk:
    """Hands requests in and waits for their answers, each on a connection of its own while it waits.

    It belongs to the event loop that it is first used in. A server that is away is waited for as long as a
    look-up would: about a second.
    """

    def __init__(self, url: str, keys: Keys) -> None:
        self._keys = keys.predictions
        self._client = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=5,
            # With one, redis-py sends under `asyncio.wait_for`, which in Python 3.11 can lose a cancellation:
            # a client that gives up would be waited for, and a deadline missed.
            socket_timeout=None,
            retry=Retry(ConstantBackoff(_PAUSE_SECONDS), _RETRIES),
            retry_on_error=list(TRANSIENT),
        )

    async def ask(
        self, job: str, request: PredictionRequest, *, seconds: float, longest_queue: int, most_bytes: int
    ) -> PredictionAnswer:
        """A predictor's answer. If the caller is cancelled, the request is not computed any more.

        Args:
            seconds: how long the answer may take.
            longest_queue: how many requests may wait besides.
            most_bytes: of all that wait; one alone may always.

        Raises:
            Unavailable: `no_predictor`, `predictors_busy`, `predictor_lost`.
            TimedOut: `prediction_timeout`.
        """
        request_id = secrets.token_hex(12)
        body = msgspec.json.encode(msgspec.structs.replace(request, request_id=bound("request_id")))
        limits = [int(seconds * 1000), longest_queue, most_bytes]
        answered = False
        try:
            async with asyncio.timeout(seconds):
                await self._hand_in(request_id, [job, len(request.texts), body, *limits])
                answer = await self._answer(request_id)
            answered = True
        except TimeoutError:
            raise TimedOut("prediction_timeout", f"there was no answer within {seconds:g} s") from None
        finally:
            if not answered:
                await self._forget(request_id)
        return msgspec.json.decode(answer, type=PredictionAnswer)

    async def close(self) -> None:
        await self._client.aclose()

    async def _forget(self, request_id: str) -> None:
        """Lest it be computed for nobody; where that fails, its deadline ends it."""
        with suppress(*TRANSIENT):
            await _heard(self._client.delete(self._keys.asked(request_id)))

    async def _hand_in(self, request_id: str, args: Sequence[Value]) -> None:
        keys = self._keys
        _refuse(
            await self._run(
                "predict_ask",
                [keys.queue, keys.predictors, keys.asked(request_id)],
                [keys.asked(""), request_id, *args],
            )
        )

    async def _answer(self, request_id: str) -> bytes:
        keys = self._keys
        answer_key = keys.answer(request_id)
        while True:
            found = await _heard(self._client.blpop([answer_key], timeout=LOOK_SECONDS))
            if found is not None:
                return cast("bytes", found[1])
            look = [keys.asked(request_id), answer_key, keys.predictors]
            _refuse(await self._run("predict_look", look, []))

    async def _run(self, name: str, keys: Sequence[str], args: Sequence[Value]) -> bytes:
        operands: list[Any] = [len(keys), *keys, *args]
        try:
            found = await _heard(self._client.evalsha(script_digest(name), *operands))
        except NoScriptError:
            found = await _heard(self._client.eval(script_source(name), *operands))
        return cast("bytes", found)


async def _heard(reply: Any) -> Any:
    """Raises redis' TimeoutError where the server says nothing for so long."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await reply
    except TimeoutError:
        raise RedisTimeoutError(f"no reply within {SILENCE_SECONDS:.0f} s") from None


def _refuse(word: bytes) -> None:
    if (refusal := _REFUSALS.get(word.decode())) is not None:
        raise Unavailable(*refusal)
