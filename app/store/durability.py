"""Writes that are on the server's disk, of a server that stayed the same one while they were made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import redis
from redis.exceptions import ResponseError

from app.errors import Unavailable
from app.store.connections import refusal
from app.tracing import span

FSYNC_TIMEOUT_MS = 10_000
RESTARTS_BORNE = 10
T = TypeVar("T")


class Durability:
    """What "durable" means here, in one place.

    A server that was killed may come back without the end of its append-only file. A later wait for the
    disk says nothing about writes that the restart lost, so each wait compares the server's `run_id`, which
    changes with every start, with the one from before the writes.

    WAITAOF alone is no promise: with `appendfsync everysec`, servers up to Valkey 9.1 answer it before the
    file is synced (flushAppendOnlyFile takes an empty buffer for "all is synced"). Behind a unix socket the
    server runs on this machine, and we sync its file ourselves; what it has answered, it has written. For a
    server elsewhere the promise is that of its own settings (docs/settings.md).
    """

    def __init__(self, client: redis.Redis, marker_key: str) -> None:
        self._client = client
        self._marker = marker_key
        self._local = "path" in client.connection_pool.connection_kwargs

    def incarnation(self) -> str:
        """Which start of the server this is; to be asked before the writes."""
        return str(cast("dict[str, object]", self._client.info("server"))["run_id"])

    def sync(self, since: str | None = None) -> None:
        """Returns when everything written to the server so far is on its disk.

        Args:
            since: the incarnation before the writes; without it, writes that a restart has lost meanwhile go
                unnoticed.

        Raises:
            Unavailable: the server was started anew since; some of the writes may be gone.
        """
        if not self._same_server(since):
            raise Unavailable("service_unavailable", "Redis was restarted before the writes were on its disk")

    def durably(self, write: Callable[[], T]) -> T:
        """Writes until all of it is on the disk of one and the same server; `write` must bear repetition.

        Raises:
            Unavailable: the server was restarted again and again.
        """
        for _ in range(RESTARTS_BORNE):
            before = self.incarnation()
            answer = write()
            if self._same_server(before):
                return answer
        raise Unavailable("service_unavailable", "Redis was restarted again and again")

    def _same_server(self, since: str | None) -> bool:
        with span("redis durable"):
            wrote, waited, server = self._wait()
        while isinstance(wrote, ResponseError) and refusal(wrote) is not None:
            self._client.incr(self._marker)  # waits for room, if this client does, or raises
            wrote, waited, server = self._wait()
        if isinstance(wrote, Exception):
            raise wrote
        if isinstance(waited, ResponseError) and "appendonly is disabled" in str(waited):
            return since in (None, server["run_id"])
        if isinstance(waited, Exception):
            raise waited
        if waited[0] < 1:
            raise Unavailable("service_unavailable", "Redis did not write its append-only file in time")
        if self._local:
            self._sync_files()
        return since in (None, server["run_id"])

    def _wait(self) -> list[Any]:
        """The answers, errors among them, to a marker, the wait for the disk and who the server is.

        WAITAOF waits for the writes of its own connection only, and the pool may have used others: the marker
        comes after all of them.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.incr(self._marker)
        pipe.execute_command("WAITAOF", 1, 0, FSYNC_TIMEOUT_MS)
        pipe.info("server")
        return pipe.execute(raise_on_error=False)

    def _sync_files(self) -> None:
        """Syncs the files that the server appends to; of another server's paths nothing is known here."""
        held = cast("dict[str, str]", self._client.config_get("dir", "appenddirname"))
        for path in Path(held["dir"], held["appenddirname"]).glob("*.incr.aof"):
            with contextlib.suppress(FileNotFoundError, PermissionError):  # rewritten, or not ours to open
                _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
