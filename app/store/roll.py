"""Who is there: names that each process writes down again and again, and that run out."""

from __future__ import annotations

import redis

from app.store.scripts import Scripts


class Roll:
    """key: a sorted set of names by the time in ms at which they count as gone, by the server's clock."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key
        self._scripts = Scripts(client)

    def beat(self, name: str, seconds: float) -> None:
        """Says that the process of this name is there for the next `seconds`."""
        self._scripts.run("worker_beat", [self._key], [name, int(seconds * 1000)])

    def leave(self, name: str) -> None:
        self._client.zrem(self._key, name)

    def count(self) -> int:
        seconds, micros = self._client.time()
        return int(self._client.zcount(self._key, seconds * 1000 + micros / 1000, "+inf"))
