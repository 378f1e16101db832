"""API keys as the service keeps them: nothing that a key could be made of again.

A key is `gs_<id>_<secret>`. Its secret is 256 random bits, so there is nothing to guess: one fast salted hash
keeps it as well as a slow one would, at a microsecond a request. Slow ones are for what people think up.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import datetime
from hashlib import blake2b
from typing import Annotated

from pydantic import Field

from app.contracts.access import NO_LIMITS, KeyLimits, KeyScope, Principal
from app.contracts.base import Record, Timestamp

KEY_SHAPE = re.compile(rb"gs_([0-9a-z]{8})_([A-Za-z0-9_-]{43})")
_SALT_BYTES = 16
_ID_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class ApiKey(Record):
    """One stored key.

    Args:
        salt, hash: of the secret, in hex.
        datasets: patterns of the names that it reaches.
    """

    id: str
    name: str
    salt: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * _SALT_BYTES}}}$")]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[KeyScope, ...]
    datasets: tuple[str, ...] = ("*",)
    limits: KeyLimits = NO_LIMITS
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None

    def principal(self, defaults: KeyLimits) -> Principal:
        """Whoever sends this key; `defaults`: limits where it has none of its own."""
        return Principal(
            key_id=self.id,
            name=self.name,
            scopes=frozenset(self.scopes),
            datasets=self.datasets,
            limits=self.limits.or_else(defaults),
            expires_at=self.expires_at,
        )

    def state(self, at: datetime) -> str:
        """`live`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "live"


class SecretHash:
    """Of one key's secret; compares in constant time."""

    def __init__(self, salt: bytes, digest: bytes) -> None:
        self._salt = salt
        self._digest = digest

    @classmethod
    def of(cls, key: ApiKey) -> SecretHash:
        return cls(bytes.fromhex(key.salt), bytes.fromhex(key.hash))

    def fits(self, secret: bytes) -> bool:
        return hmac.compare_digest(_digest(secret, self._salt), self._digest)


NO_SECRET = SecretHash(bytes(_SALT_BYTES), secrets.token_bytes(32))
"""Stands for the key of an id that there is none of, so that looking it up takes as long."""


def new_key(
    name: str,
    scopes: tuple[KeyScope, ...],
    datasets: tuple[str, ...],
    limits: KeyLimits,
    created_at: datetime,
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """What is stored of a new key, and the key itself."""
    key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(_SALT_BYTES)
    stored = ApiKey(
        id=key_id,
        name=name,
        salt=salt.hex(),
        hash=_digest(secret.encode(), salt).hex(),
        scopes=scopes,
        datasets=datasets,
        limits=limits,
        created_at=created_at,
        expires_at=expires_at,
    )
    return stored, f"gs_{key_id}_{secret}"


def _digest(secret: bytes, salt: bytes) -> bytes:
    return blake2b(secret, digest_size=32, salt=salt).digest()
