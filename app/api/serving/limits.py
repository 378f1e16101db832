"""What a client of a connection may take: time, bytes, connections."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from app.api.refusals import Refusal
from app.settings import Settings

LEAST_BYTES = 1024
"""What must come, or be taken, in each `stall_seconds`: less is as good as nothing."""

CROWDED_SHARE, CROWDED_KEEP_SECONDS = 0.75, 5.0
"""Where more than this share of the connections is open, idle ones are kept for so long at most."""

SPARE_FILES = 1000
"""Descriptors for tables, files and Redis, beside those of connections."""


@dataclass(frozen=True)
class Limits:
    max_connections: int
    max_header_bytes: int
    header_seconds: float
    stall_seconds: float
    crowded: Refusal
    header_too_large: Refusal
    header_too_slow: Refusal
    body_too_slow: Refusal

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        seconds, stall = settings.header_seconds, settings.stall_seconds
        most, size = settings.max_connections, settings.max_header_bytes
        return cls(
            most,
            size,
            seconds,
            stall,
            Refusal(503, "overloaded", f"{most} connections are open already"),
            Refusal(431, "header_too_large", f"the header of a request may have {size} bytes"),
            Refusal(408, "client_too_slow", f"the header did not come within {seconds:g} seconds"),
            Refusal(408, "client_too_slow", f"less than {LEAST_BYTES} bytes of the body came in {stall:g} s"),
        )


def room_for_connections(connections: int) -> None:
    """Raises this process's own limit of open files, as far as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
