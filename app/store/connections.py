"""Connections to Redis: one pool a process, with patience that fits the caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

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

from app.logs import get_logger

TRANSIENT = (ConnectionError, TimeoutError, BusyLoadingError)
"""The server is away."""
REFUSED = ResponseError
"""The server is there and says no."""
REFUSAL_SECONDS = 0.5
COMPLAIN_SECONDS = 30.0
T = TypeVar("T")
log = get_logger(__name__)


def connect(url: str, *, outage_seconds: float = 1.0, waits_for_room: bool = False) -> redis.Redis:
    """A pooled client that retries for about `outage_seconds` while the server is away.

    A request of the API gives up within a second and answers 503; a worker waits out a restart of the server,
    and with `waits_for_room` also a server that refuses writes, for as long as it does.
    """
    kind = PatientRetry if waits_for_room else Retry
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=5,
        socket_timeout=30,
        health_check_interval=30,
        retry=kind(ExponentialBackoff(cap=0.5, base=0.02), retries=max(2, int(outage_seconds / 0.5) + 5)),
        retry_on_error=list(TRANSIENT),
    )


class PatientRetry(Retry):
    """Asks again, without end, while the server refuses writes: nothing was written, and a job can wait.

    A refused pipeline is sent again as a whole, so everything a worker sends must bear to be sent twice; so
    it must anyway, because a connection can break after the server did what it was asked.
    """

    def call_with_retry(self, do: Callable[[], T], fail: Callable[..., Any], *args: Any, **kwargs: Any) -> T:
        complain_at = 0.0
        while True:
            try:
                return super().call_with_retry(do, fail, *args, **kwargs)
            except ResponseError as error:
                if refusal(error) is None:
                    raise
                if time.monotonic() >= complain_at:
                    log.warning("redis refuses writes; the job waits until it takes them", error=str(error))
                    complain_at = time.monotonic() + COMPLAIN_SECONDS
            time.sleep(REFUSAL_SECONDS)


def refusal(error: Exception) -> str | None:
    """The error code of a server that refuses writes, so that nothing was written; None for other errors."""
    # The client turns some of these into classes and cuts the word off; from scripts they come as text.
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OOM " in text:
        return "redis_out_of_memory"
    if isinstance(error, ReadOnlyError) or "READONLY " in text:
        return "redis_read_only"
    return "redis_disk_error" if "MISCONF " in text else None


def keeps_append_only_file(client: redis.Redis) -> bool:
    return bool(cast("dict[str, object]", client.info("persistence")).get("aof_enabled"))


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
