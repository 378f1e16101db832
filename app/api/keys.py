"""API keys: checked before anything of a request is read."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.key_limits import KeyLimiter, TooFast
from app.api.problems import EXPECTED, answer_to
from app.api.scopes import dataset_of_path, opened_by
from app.api.watching import WatchedRequest
from app.contracts.access import ANYBODY, PRINCIPAL, Principal
from app.errors import Forbidden, Unauthorized
from app.services.key_ring import KeyRing
from app.store.key_rates import KeyRates

PROTECTED = "/v1"


def principal_of(request: Request) -> Principal:
    principal: Principal = request.scope[PRINCIPAL]
    return principal


class KeyCheck:
    """Lets in what carries a key that opens it; without keys, everything.

    401 without a good key, 403 where its scopes or datasets are others, 429 over its limits.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, rates: KeyRates) -> None:
        self._app = app
        self._ring = ring
        self._limiter = KeyLimiter(rates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (scope["path"] + "/").startswith(f"{PROTECTED}/"):
            scope[PRINCIPAL] = ANYBODY
            await self._app(scope, receive, send)
            return
        entered = False
        try:
            principal = await self._ring.principal(_sent_key(scope))
            if principal is None:
                raise Unauthorized("unauthorized", "the request carries no valid API key")
            scope[PRINCIPAL] = principal
            _require_open(principal, scope["method"], scope["path"])
            watched = WatchedRequest(self._ring, principal, receive, send)
            if principal.limits.rate is None and principal.limits.concurrent is None:
                entered = True
                await self._app(scope, watched.receive, watched.send)
                return
            async with self._limiter.admitted(principal):
                entered = True
                await self._app(scope, watched.receive, watched.send)
        except EXPECTED as error:
            if entered:
                raise
            answer = await answer_to(Request(scope), error)
            answer.headers.update(error.headers if isinstance(error, TooFast) else {})
            await answer(scope, receive, send)


def require_dataset(principal: Principal, dataset: str) -> None:
    """By the name alone: whether there is such a dataset is not told.

    Raises:
        Forbidden: `dataset_not_allowed`.
    """
    if not principal.reaches(dataset):
        raise Forbidden("dataset_not_allowed", f"the key does not reach datasets named {dataset!r}")


def _require_open(principal: Principal, method: str, path: str) -> None:
    needed, _ = opened_by(method, path)
    if needed is not None and needed not in principal.scopes:
        raise Forbidden("scope_missing", f"this needs a key with the scope {needed.value}")
    dataset = dataset_of_path(path)
    if dataset is not None:
        require_dataset(principal, dataset)


def _sent_key(scope: Scope) -> bytes:
    """The key as it came; empty without one, or with two, of which a proxy may have seen the other one."""
    bearers, named = [], []
    for name, value in scope["headers"]:
        if name == b"authorization":
            bearers.append(value)
        elif name == b"x-api-key":
            named.append(value)
    if len(bearers) > 1 or len(named) > 1:
        return b""
    scheme, _, given = bearers[0].partition(b" ") if bearers else (b"", b"", b"")
    if scheme.lower() != b"bearer":
        given = named[0] if named else b""
    return bytes(given.strip(b" \t"))


async def documented_key(
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Puts the key into the OpenAPI document; `KeyCheck` has looked at it by then."""
