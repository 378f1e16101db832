"""Connections to Redis: one pool a process, with patience that fits the caller."""

from __future__ import annotations

from typing import cast

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from app.errors import Unavailable

TRANSIENT = (ConnectionError, TimeoutError, BusyLoadingError)
"""The server is away."""
REFUSED = ResponseError
"""The server is there and says no."""
FSYNC_TIMEOUT_MS = 10_000
_REFUSAL_TEXTS = ("OOM ", "MISCONF ", "READONLY ")


def connect(url: str, *, outage_seconds: float = 1.0) -> redis.Redis:
    """A pooled client that retries for about `outage_seconds` while the server is away.

    A request of the API gives up within a second and answers 503; a worker waits out a restart of the server.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=5,
        socket_timeout=30,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), retries=max(2, int(outage_seconds / 0.5) + 5)),
        retry_on_error=list(TRANSIENT),
    )


def make_durable(client: redis.Redis, marker_key: str) -> None:
    """Returns when everything written to the server so far is on its disk (WAITAOF).

    WAITAOF waits for the writes of its own connection only, and the pool may have used others; so it writes
    `marker_key` first, which comes after all of them. A server without an append-only file promises nothing;
    `keeps_append_only_file` is what start-up warns about.
    """
    pipe = client.pipeline(transaction=False)
    pipe.incr(marker_key)
    pipe.execute_command("WAITAOF", 1, 0, FSYNC_TIMEOUT_MS)
    _, reply = pipe.execute(raise_on_error=False)
    if isinstance(reply, ResponseError) and "appendonly is disabled" in str(reply):
        return
    if isinstance(reply, Exception):
        raise reply
    if reply[0] < 1:
        raise Unavailable("service_unavailable", "Redis did not write its append-only file in time")


def keeps_append_only_file(client: redis.Redis) -> bool:
    return bool(cast("dict[str, object]", client.info("persistence")).get("aof_enabled"))


def refuses_writes(error: Exception) -> bool:
    """Whether the server is out of memory, cannot write its file, or is a replica: nothing was written."""
    # The client turns some of these into classes and cuts the word off; from scripts they come as text.
    told = isinstance(error, OutOfMemoryError | ReadOnlyError)
    return told or any(text in str(error) for text in _REFUSAL_TEXTS)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
