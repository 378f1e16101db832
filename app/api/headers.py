"""Headers of a request straight from its scope, and those of every answer."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of that name (in lower case), empty where there is none."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value)
    return b""


Headers = tuple[tuple[bytes, bytes], ...]
_OF_EVERY_ANSWER: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Reports are pages with styles of their own; they and everything else load nothing, from nowhere.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; "
        b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)
_UNSTORED: Headers = (*_OF_EVERY_ANSWER, (b"cache-control", b"no-store"))
_UNCHECKED: Headers = (*_OF_EVERY_ANSWER, (b"cache-control", b"no-cache"))


def headers_of(path: str) -> Headers:
    """For browsers and proxies: what may be kept, embedded, loaded. No CORS: pages of others read nothing."""
    return _UNSTORED if path.startswith("/v1") else _UNCHECKED
