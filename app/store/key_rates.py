"""Requests of each API key in a sliding window, counted on the same Redis for all processes of the API."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import redis.asyncio
from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from app.store.keys import Keys

TIMEOUT_SECONDS = 2.0
MOST_CONNECTIONS = 64


class KeyRates:
    """To be used on one event loop, and closed there."""

    def __init__(self, url: str, keys: Keys) -> None:
        self._pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        # The address is that of the pool; the storage only wants one that it can read.
        pool: Any = self._pool  # the library's types know plain options only
        storage = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=keys.rates, connection_pool=pool
        )
        self._window = SlidingWindowCounterRateLimiter(storage)

    async def wait_of(self, key_id: str, rate: str) -> float:
        """Counts one request; 0 if the rate allows it, or else in how many seconds it allows another one."""
        item = _item(rate)
        if await self._window.hit(item, key_id):
            return 0.0
        reset, _ = await self._window.get_window_stats(item, key_id)
        return max(reset - time.time(), 0.001)

    async def close(self) -> None:
        await self._pool.aclose()


@lru_cache(maxsize=256)
def _item(rate: str) -> RateLimitItem:
    return parse(rate)
