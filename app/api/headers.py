"""Headers of a request straight from its scope: every request meets this on its way."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of that name (in lower case), empty where there is none."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value)
    return b""
