"""/v1/access"""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.api.keys import principal_of
from app.contracts.access import KeyLimits, KeyScope
from app.contracts.base import Timestamp

router = APIRouter(prefix="/v1/access", tags=["service"])


class AccessOut(BaseModel):
    """id: empty where the service runs without keys. datasets: patterns of names."""

    id: str
    name: str
    scopes: list[KeyScope]
    datasets: list[str]
    limits: KeyLimits
    expires_at: Timestamp | None


@router.get("")
async def get_access(request: Request) -> AccessOut:
    """What the key of this request opens, and its limits."""
    caller = principal_of(request)
    return AccessOut(
        id=caller.key_id,
        name=caller.name,
        scopes=[scope for scope in KeyScope if scope in caller.scopes],
        datasets=list(caller.datasets),
        limits=caller.limits,
        expires_at=caller.expires_at,
    )
