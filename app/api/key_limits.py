"""How much may be asked with one key: requests at a time, and requests in a while."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.contracts.access import Principal
from app.errors import Busy
from app.store.key_rates import KeyRates


class TooFast(Busy):
    """More than the key's rate.

    Args:
        wait_seconds: until the rate allows another request.
    """

    def __init__(self, rate: str, wait_seconds: float) -> None:
        super().__init__("rate_limited", f"the key's rate is {rate}")
        most, _, window = rate.partition("/")
        seconds = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}[window]
        wait = math.ceil(wait_seconds)
        self.headers = {
            "Retry-After": str(wait),
            "RateLimit-Policy": f'"key";q={most};w={seconds}',
            "RateLimit": f'"key";r=0;t={wait}',
        }


class KeyLimiter:
    """One per process, on its event loop: requests at a time are those of this process."""

    def __init__(self, rates: KeyRates) -> None:
        self._rates = rates
        self._under_way: Counter[str] = Counter()

    @asynccontextmanager
    async def admitted(self, principal: Principal) -> AsyncIterator[None]:
        """Raises Busy."""
        limits, key_id = principal.limits, principal.key_id
        if limits.concurrent is not None and self._under_way[key_id] >= limits.concurrent:
            detail = f"{limits.concurrent} requests with this key are under way"
            raise Busy("too_many_requests", detail)
        self._under_way[key_id] += 1
        try:
            if limits.rate is not None:
                wait = await self._rates.wait_of(key_id, limits.rate)
                if wait:
                    raise TooFast(limits.rate, wait)
            yield
        finally:
            self._under_way[key_id] -= 1
            if not self._under_way[key_id]:
                del self._under_way[key_id]
