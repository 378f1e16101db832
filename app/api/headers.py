"""Headers of a request straight from its scope, and those of every answer."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from starlette.types import Scope

_CLIENTS_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of that name (in lower case), empty where there is none."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value)
    return b""


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's own, if it is harmless; else a new one."""
    asked = next((value for name, value in headers if name == b"x-request-id"), b"")
    return asked.decode() if _CLIENTS_ID.fullmatch(asked) else new_request_id()


def new_request_id() -> str:
    """Tells requests apart and is no secret: a system call for each would cost more than the rest of it."""
    return f"{random.getrandbits(128):032x}"


Headers = tuple[tuple[bytes, bytes], ...]
_OF_EVERY_ANSWER: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_ALONE = b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Reports are pages with styles of their own; they and everything else load nothing, from nowhere.
_CLOSED: Headers = (
    *_OF_EVERY_ANSWER,
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; " + _ALONE),
)
_OWN_FILES = b"script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
_UNSTORED: Headers = (*_CLOSED, (b"cache-control", b"no-store"))
_UNCHECKED: Headers = (*_CLOSED, (b"cache-control", b"no-cache"))
_DASHBOARD: Headers = (
    *_OF_EVERY_ANSWER,
    (b"content-security-policy", b"default-src 'none'; " + _OWN_FILES + _ALONE),
    # A new version of the service brings new files: they are asked for each time, and answered 304.
    (b"cache-control", b"no-cache"),
)


def headers_of(path: str) -> Headers:
    """For browsers and proxies: what may be kept, embedded, loaded. No CORS: pages of others read nothing."""
    if path.startswith("/v1"):
        return _UNSTORED
    return _DASHBOARD if path == "/" or path.startswith("/ui/") else _UNCHECKED
