"""The API keys that a process of the API knows, and how it learns of new ones and of revoked ones.

Who asks thousands of times a second must not pay a turn to Redis for it: what is known may be a second old.
While Redis is away the keys that were known go on opening the service, for a minute at most.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import dataclass
from math import inf

from anyio import to_thread
from pydantic import ValidationError

from app.contracts.access import ANYBODY, KeyLimits, Principal
from app.contracts.api_keys import KEY_SHAPE, NO_SECRET, ApiKey, SecretHash
from app.errors import Unavailable
from app.logs import get_logger
from app.settings import Settings
from app.store.connections import REFUSED, TRANSIENT
from app.store.state import State

REFRESH_SECONDS = 0.4
"""Older than this, what is known is asked for anew, beside the requests."""
STALE_SECONDS = 0.8
"""Older than this, a request waits for it."""
PATIENCE_SECONDS = 0.2
FIRST_PATIENCE_SECONDS = 3.0
HONOURED_SECONDS = 60.0
log = get_logger(__name__)


@dataclass(frozen=True)
class _LiveKey:
    secret: SecretHash
    principal: Principal
    expires: float

    @property
    def live(self) -> bool:
        return time.time() < self.expires


class KeyRing:
    """To be used on one event loop.

    Once any key is known to have been made, one is asked for as long as the process lives: neither a revoked
    last key nor a Redis that was emptied opens the service.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._defaults = KeyLimits(
            rate=settings.key_rate,
            concurrent=settings.key_concurrent,
            queued_jobs=settings.key_queued_jobs,
        )
        self._of_settings = Principal("settings", "a key of the settings", limits=self._defaults)
        given = settings.keys()
        self._set = tuple(key.encode() for key in given)
        self._locked = bool(self._set)
        self._archive_read = False
        self._raw: dict[bytes, bytes] = {}
        self._stored: dict[bytes, _LiveKey] = {}
        self._learned_at = self._tried_at = -inf
        self._learning: asyncio.Task[None] | None = None

    async def principal(self, given: bytes) -> Principal | None:
        """Whose key this is; None if it opens nothing.

        Raises:
            Unavailable: Redis has been away for too long.
        """
        # Every key is compared, each in constant time: the answer's delay tells nothing about them.
        matches = [hmac.compare_digest(given, key) for key in self._set]
        if any(matches):
            return self._of_settings
        if time.monotonic() - self._learned_at >= REFRESH_SECONDS:
            await self._know()
        if not self._locked:
            return ANYBODY
        parts = KEY_SHAPE.fullmatch(given)
        if parts is None:
            return None
        key = self._stored.get(parts[1])
        fits = (NO_SECRET if key is None else key.secret).fits(parts[2])
        return key.principal if fits and key is not None and key.live else None

    async def holds(self, principal: Principal) -> bool:
        """Whether the key of a request that was let in is still good.

        Raises:
            Unavailable: as `principal` does.
        """
        if principal is self._of_settings:
            return True
        await self._know(patient=True)
        if principal is ANYBODY:
            return not self._locked
        key = self._stored.get(principal.key_id.encode())
        return key is not None and key.live

    async def _know(self, *, patient: bool = False) -> None:
        """`patient`: waits for whatever can be learned now."""
        now = time.monotonic()
        age = now - self._learned_at
        if age < REFRESH_SECONDS:
            return
        under_way = self._learning is not None and not self._learning.done()
        if not under_way and now - self._tried_at >= REFRESH_SECONDS:
            self._tried_at = now
            self._learning = asyncio.create_task(self._learn())
            under_way = True
        if under_way and self._learning is not None and (patient or age >= STALE_SECONDS):
            patience = FIRST_PATIENCE_SECONDS if age == inf else PATIENCE_SECONDS
            await asyncio.wait((self._learning,), timeout=patience)
        if time.monotonic() - self._learned_at > HONOURED_SECONDS:
            detail = "Redis does not answer, and which keys are good is not known"
            raise Unavailable("service_unavailable", detail)

    async def _learn(self) -> None:
        asked_at = time.monotonic()
        try:
            if not self._archive_read:
                self._locked |= await to_thread.run_sync(self._state.key_archive.any)
                self._archive_read = True
            raw = await self._state.asked_keys()
        except (*TRANSIENT, REFUSED, OSError) as error:
            log.warning("which API keys are good cannot be learned", error=str(error))
            return
        if raw != self._raw:
            self._locked |= bool(raw)
            read = ((key_id, _read(key_id, record)) for key_id, record in raw.items())
            self._stored = {key_id: self._of(key) for key_id, key in read if key is not None}
            self._raw = raw
        self._learned_at = asked_at

    def _of(self, key: ApiKey) -> _LiveKey:
        expires = inf if key.expires_at is None else key.expires_at.timestamp()
        return _LiveKey(SecretHash.of(key), key.principal(self._defaults), expires)


def _read(key_id: bytes, record: bytes) -> ApiKey | None:
    """The key, unless it is revoked. A damaged record opens nothing; `gradsift verify` tells of it."""
    try:
        key = ApiKey.model_validate_json(record)
    except ValidationError:
        log.error("the record of an API key is damaged")  # noqa: TRY400  (the error would show the record)
        return None
    return key if key.id.encode() == key_id and key.revoked_at is None else None
