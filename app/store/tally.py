"""What has happened, counted on the server: no count goes back because a process died."""

from __future__ import annotations

from typing import cast

import redis

from app.store.keys import Keys

CREATED, CLAIMED, RESUMED, ENDED = "created", "claimed", "resumed", "ended"
"""Followed by the kind of the job; the last one also by its state. Scripts count them where they happen."""
REAPED = "reaped"
LEASES_LOST = "leases_lost"
WRITES_REFUSED = "writes_refused"
COMPACTIONS = "compactions"


class Tally:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.jobs.tally

    def add(self, name: str) -> None:
        self._client.hincrby(self._key, name, 1)

    def counts(self) -> dict[str, int]:
        raw = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        return {name.decode(): int(count) for name, count in raw.items()}
