"""What a route knows of a request that its path does not say, for the audit log."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import Scope

_FACTS = "gradsift.facts"


def tell(request: Request, **facts: Any) -> None:
    """Fields of an `AuditEntry`: `action`, `dataset`, `job`, `kind`, `code`, `counts`."""
    request.scope.setdefault(_FACTS, {}).update(facts)


def told(scope: Scope) -> dict[str, Any]:
    found: dict[str, Any] = scope.get(_FACTS, {})
    return found
