"""A request with rows under an Idempotency-Key is taken in once; sent again, it gets the same answer."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from anyio import to_thread
from fastapi import Header, Request, Response

from app.api.keys import principal_of
from app.contracts import Dataset
from app.errors import Conflict
from app.store.given_answers import AnswerStore, GivenAnswer

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="For a day the same request under it gets the same answer, and is not taken in again.",
    ),
]
Work = Callable[[AsyncIterator[bytes]], Awaitable[Response]]


async def answered_once(
    request: Request, answers: AnswerStore, dataset: Dataset, key: str | None, work: Work
) -> Response:
    """What `work` makes of the body; or the answer that it has made of the same one before.

    Raises:
        Conflict: the key belongs to another request.
    """
    if key is None:
        return await work(request.stream())
    key = f"{principal_of(request).key_id}\0{key}"  # those of different API keys are apart
    given = await to_thread.run_sync(answers.recall, dataset, key)
    digest = hashlib.sha256(_head(request))
    if given is not None:
        async for chunk in request.stream():
            digest.update(chunk)
        if given.request != digest.hexdigest():
            detail = "this Idempotency-Key belongs to a different request"
            raise Conflict("idempotency_key_reused", detail)
        return Response(given.body, given.status, media_type="application/json")
    response = await work(_noted(request.stream(), digest.update))
    if response.status_code < 300:
        answer = GivenAnswer(digest.hexdigest(), response.status_code, bytes(response.body))
        await to_thread.run_sync(answers.keep, dataset, key, answer)
    return response


def _head(request: Request) -> bytes:
    named = [request.headers.get(name, "") for name in ("content-type", "content-encoding")]
    return repr((request.url.path, sorted(request.query_params.multi_items()), named)).encode()


async def _noted(chunks: AsyncIterator[bytes], note: Callable[[bytes], None]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        note(chunk)
        yield chunk
