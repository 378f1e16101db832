"""Who calls, and where a job comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from app.contracts.base import Record


class KeyScope(StrEnum):
    """What a key opens: looking, changing samples, starting and stopping jobs, and the rest."""

    READ = "read"
    WRITE = "write"
    JOBS = "jobs"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who sends a request.

    Args:
        key_id: the public part of the key; empty where the service runs without keys.
        datasets: patterns (`team-*`) of the names that the key reaches.
    """

    key_id: str = ""
    name: str = "anybody"
    scopes: frozenset[KeyScope] = frozenset(KeyScope)
    datasets: tuple[str, ...] = ("*",)

    def reaches(self, dataset: str) -> bool:
        return any(fnmatchcase(dataset, pattern) for pattern in self.datasets)


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
