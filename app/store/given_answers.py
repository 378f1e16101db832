"""Answers that were given to requests with an Idempotency-Key, for whoever sends the same again."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, NamedTuple, cast

import redis

from app.contracts import Dataset
from app.store.keys import Keys

REMEMBERED_SECONDS = 24 * 3600


class GivenAnswer(NamedTuple):
    request: str
    """Digest of the request that was answered."""
    status: int
    body: bytes


class AnswerStore:
    """Not synced to the disk: an answer that is lost is one that says "unchanged" the next time."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def recall(self, dataset: Dataset, idempotency_key: str) -> GivenAnswer | None:
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._key(dataset, idempotency_key)))
        if not raw:
            return None
        return GivenAnswer(raw[b"request"].decode(), int(raw[b"status"]), zlib.decompress(raw[b"body"]))

    def keep(self, dataset: Dataset, idempotency_key: str, answer: GivenAnswer) -> None:
        key = self._key(dataset, idempotency_key)
        body = zlib.compress(answer.body)
        fields: dict[Any, Any] = {"request": answer.request, "status": answer.status, "body": body}
        pipe = self._client.pipeline()
        pipe.hset(key, mapping=fields)
        pipe.expire(key, REMEMBERED_SECONDS)
        pipe.execute()

    def _key(self, dataset: Dataset, idempotency_key: str) -> str:
        digest = hashlib.sha256(idempotency_key.encode()).hexdigest()
        return self._keys.dataset(dataset.uid).answer(digest)
