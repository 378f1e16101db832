"""Who calls, and where a job comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from app.contracts.base import Record
from app.settings import RATE_PATTERN


class KeyScope(StrEnum):
    """What a key opens: looking, changing samples, starting and stopping jobs, and the rest."""

    READ = "read"
    WRITE = "write"
    JOBS = "jobs"
    ADMIN = "admin"


class KeyLimits(Record):
    """How much may be asked of the service with one key; None: as much as anybody likes."""

    rate: Annotated[str, Field(pattern=RATE_PATTERN)] | None = None
    """Requests, such as `100/second`."""
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Requests at a time, in each process of the API."""
    queued_jobs: Annotated[int, Field(ge=1)] | None = None

    def or_else(self, defaults: KeyLimits) -> KeyLimits:
        """These, and the defaults where there is none."""
        given = self.model_dump(exclude_none=True)
        return KeyLimits.model_validate(defaults.model_dump() | given)


@lru_cache(maxsize=4096)
def _reached(patterns: tuple[str, ...], dataset: str) -> bool:
    return any(fnmatchcase(dataset, pattern) for pattern in patterns)


NO_LIMITS = KeyLimits()


@dataclass(frozen=True)
class Principal:
    """Who sends a request.

    Args:
        key_id: the public part of the key; empty where the service runs without keys.
        datasets: patterns (`team-*`) of the names that the key reaches.
        expires_at: when the key opens nothing more, if ever.
    """

    key_id: str = ""
    name: str = "anybody"
    scopes: frozenset[KeyScope] = frozenset(KeyScope)
    datasets: tuple[str, ...] = ("*",)
    limits: KeyLimits = NO_LIMITS
    expires_at: datetime | None = None

    def reaches(self, dataset: str) -> bool:
        return _reached(self.datasets, dataset)

    @property
    def reaches_all(self) -> bool:
        return "*" in self.datasets


ANYBODY = Principal()
"""Where the service runs without keys."""
PRINCIPAL = "gradsift.principal"
"""In the scope of a request: its Principal, put there before anything else is asked."""


class JobOrigin(Record):
    """What a job's record keeps of the request that sent it, for the worker and for those who ask later."""

    request_id: str = ""
    key_id: str = ""
    webhook: str | None = None
    traceparent: str = ""
