"""Exit codes, and how errors are shown."""

from __future__ import annotations

import sys

from app.errors import GradSiftError

SUCCEEDED = 0
FAILED = 1
CANCELLED = 2
PARTLY = 3
"""Some rows were stored and some were not."""
INTERRUPTED = 130
JOB_EXIT_CODES = {"succeeded": SUCCEEDED, "failed": FAILED, "cancelled": CANCELLED}
_ERRORS_SHOWN = 5


def show_error(error: GradSiftError) -> None:
    """Detail, code and remedy, and the first of several things that are wrong, on standard error."""
    lines = [f"error: {error.detail} [{error.code}]"]
    details = [item for item in error.errors if item.get("detail") != error.detail]
    for item in details[:_ERRORS_SHOWN]:
        place = item.get("pointer") or f"row {item.get('index')}"
        lines.append(f"  {place}: {item.get('detail')}")
    if len(details) > _ERRORS_SHOWN:
        lines.append(f"  and {len(details) - _ERRORS_SHOWN} more")
    if error.remedy:
        lines.append(f"remedy: {error.remedy}")
    print("\n".join(lines), file=sys.stderr)


def note(text: str) -> None:
    """Something beside the result: on standard error, so that the result can be piped."""
    print(text, file=sys.stderr)
