"""Connections that stay open as long as a worker lives: its death is known before its lease runs out.

When a process is killed the kernel closes its sockets, and the server counts one subscriber less. Nothing
is ever published. Whoever is not counted for a moment, because a network dropped the connection, has time
to come back.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import cast

import redis

from app.logs import get_logger
from app.store.connections import REFUSED
from app.store.keys import JobKeys

log = get_logger(__name__)
GRACE_SECONDS = 2.0
"""More than a worker takes to notice that its line is down, and to take it up again."""


class Line:
    """A worker's. To be looked after every second; not from two threads at once."""

    def __init__(self, client: redis.Redis, keys: JobKeys, worker: str) -> None:
        self._client = client
        self._channel = keys.line(worker)
        self._held: redis.client.PubSub | None = None

    def keep(self) -> None:
        """Takes it up where it is not held.

        Raises:
            ConnectionError, TimeoutError: the server is away; the line is down until the next call.
        """
        if self._held is None:
            self._held = self._client.pubsub()
        try:
            if not self._held.subscribed:
                self._held.subscribe(self._channel)
            while self._held.get_message(timeout=0.0) is not None:
                pass
        except redis.RedisError:
            self.drop()
            raise

    def drop(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


class LineWatch:
    """Which of some workers have lost their line; asked again and again, by one thread.

    Only a line that was seen can be missed, on the same run of the server: whoever never had one is left
    to its lease, and so is everyone after the server was started again, or where it may not be asked.
    """

    def __init__(self, client: redis.Redis, keys: JobKeys) -> None:
        self._client = client
        self._keys = keys
        self._run = ""
        self._told = False
        self._seen: set[str] = set()
        self._missed_since: dict[str, float] = {}

    def lost(self, workers: Collection[str]) -> list[str]:
        """Those whose line has been down for `GRACE_SECONDS`, each told once."""
        held = self._held(workers) if workers else None
        if held is None:
            self._forget()
            return []
        self._seen = (self._seen & set(workers)) | held
        now, before = time.monotonic(), self._missed_since
        self._missed_since = {worker: before.get(worker, now) for worker in self._seen - held}
        gone = [worker for worker, since in self._missed_since.items() if now - since >= GRACE_SECONDS]
        self._seen.difference_update(gone)
        return gone

    def _held(self, workers: Collection[str]) -> set[str] | None:
        """Of these, who has a line; None where the server does not say."""
        channels = {self._keys.line(worker).encode(): worker for worker in workers}
        try:
            run = str(cast("dict[str, object]", self._client.info("server"))["run_id"])
            counts = cast("list[tuple[bytes, int]]", self._client.pubsub_numsub(*channels))
        except REFUSED as error:  # this user of Redis may not ask, say
            if not self._told:
                log.warning("deaths of workers are seen by their leases alone", error=str(error))
            self._told = True
            return None
        if run != self._run:
            self._forget()
            self._run = run
        return {channels[channel] for channel, count in counts if count}

    def _forget(self) -> None:
        self._seen.clear()
        self._missed_since.clear()
