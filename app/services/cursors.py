"""Opaque page cursors: small JSON, base64url; what is in one is checked like any input."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, TypeVar

import msgspec

from app.errors import Invalid

T = TypeVar("T", bound=msgspec.Struct)
Position = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A place in some order; also a moment in microseconds."""


def encode_cursor(position: msgspec.Struct) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[T]) -> T:
    """Raises `Invalid("invalid_cursor")` for anything that `encode_cursor` of this kind did not make."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise Invalid("invalid_cursor", "the cursor is not one that this service gave out") from error
