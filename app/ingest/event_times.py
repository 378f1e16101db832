"""When an event happened: times as teams write them, made microseconds since 1970."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from app.ingest.rows import RowError

LATEST = timedelta(days=1)
"""So far into the future a clock may go wrong."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 10**11
"""A number from here on counts milliseconds: as seconds it would be the year 5138. The same for micro-."""
_MICROSECONDS_FROM = 10**14
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_DATE_WITHOUT_DASHES = re.compile(r"(19|20)\d{6}")
_LONGEST_TIME = 64
"""Characters: all forms are shorter, and a number of a million digits takes its time."""


def microseconds(written: str | int | float, now: datetime) -> int:
    """A time as RFC 3339 or a date and time without a zone (UTC), or as seconds, milli- or microseconds
    since 1970.

    Raises:
        RowError: it is none of these, lies before 1970, or more than a day after now.
    """
    if isinstance(written, str):
        written = written.strip()
        if len(written) > _LONGEST_TIME:
            raise RowError(
                "invalid_timestamp", f"timestamp {written[:_LONGEST_TIME]!r}... is too long for one"
            )
        at = _from_text(written)
    else:
        at = _from_number(written)
    if at < 0:
        raise RowError("invalid_timestamp", f"timestamp {written!r} lies before 1970")
    if at > (now + LATEST - _EPOCH) // timedelta(microseconds=1):
        raise RowError("invalid_timestamp", f"timestamp {written!r} lies more than a day in the future")
    return at


def _from_text(written: str) -> int:
    if _DATE_WITHOUT_DASHES.fullmatch(written):
        raise RowError("invalid_timestamp", f"timestamp {written!r} may be a date or a number: write dashes")
    if _NUMBER.fullmatch(written):
        return _from_number(float(written) if "." in written else int(written))
    try:
        parsed = datetime.fromisoformat(written)
    except ValueError as error:
        detail = f"timestamp {written!r} is neither a date and time (RFC 3339) nor seconds since 1970"
        raise RowError("invalid_timestamp", detail) from error
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - _EPOCH) // timedelta(microseconds=1)


def _from_number(written: int | float) -> int:
    if isinstance(written, int) and written.bit_length() > 64:  # which may be too long even to be shown
        raise RowError("invalid_timestamp", "timestamp is a number too large for a time")
    if not math.isfinite(written):
        raise RowError("invalid_timestamp", f"timestamp {written!r} is no time")
    if abs(written) >= _MICROSECONDS_FROM:
        return int(written)
    return round(written * (1_000 if abs(written) >= _MILLISECONDS_FROM else 1_000_000))
