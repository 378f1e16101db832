"""What may go wrong between a client and the service, as errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from app.errors import REMEDIES, GradSiftError, Unavailable


class ServiceProblem(GradSiftError):
    """A problem document that the service answered with; `body` is all of it."""

    def __init__(self, status: int, body: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        code = str(body.get("code") or f"http_{status}")
        detail = str(body.get("detail") or body.get("title") or f"the service answered {status}")
        remedy = str(body.get("remedy") or REMEDIES.get(code, ""))
        super().__init__(code, detail, remedy=remedy, errors=body.get("errors") or ())
        self.status = status
        self.body = dict(body)
        self.retry_after = retry_after
        """After how many seconds to try again, where the answer says it."""

    @property
    def passing(self) -> bool:
        """Whether the same request may be carried out shortly."""
        return self.status in (429, 503) or self.code == "dataset_busy"


class Unreachable(Unavailable):
    """Nobody answers at the address, or the connection broke."""


def problem_of(response: httpx.Response) -> ServiceProblem:
    """What an answer that is no success says; also of a proxy that knows no problem documents."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {"detail": f"the service answered {response.status_code} {response.reason_phrase}"}
    return ServiceProblem(
        response.status_code, body, retry_after=_seconds(response.headers.get("Retry-After", ""))
    )


def _seconds(retry_after: str) -> float | None:
    """Of a header that gives seconds or, as a proxy may, a date."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
