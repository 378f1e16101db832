"""API keys: checked before anything of a request is read."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem_response
from app.contracts.access import ANYBODY, PRINCIPAL, Principal
from app.errors import REMEDIES

PROTECTED = "/v1"
OF_THE_SETTINGS = Principal(key_id="settings", name="a key of the settings")


def principal_of(request: Request) -> Principal:
    principal: Principal = request.scope[PRINCIPAL]
    return principal


class KeyCheck:
    """Answers 401 to whatever under /v1 carries none of the keys; without keys it lets everything pass."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self._app = app
        self._principal = OF_THE_SETTINGS if keys else ANYBODY
        self._keys = tuple(key.encode() for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        protected = bool(self._keys) and (scope["path"] + "/").startswith(f"{PROTECTED}/")
        if not protected or self._known(Request(scope)):
            scope[PRINCIPAL] = self._principal
            await self._app(scope, receive, send)
            return
        code = "unauthorized"
        detail = "the request carries no valid API key"
        await problem_response(Request(scope), 401, code, detail, REMEDIES[code])(scope, receive, send)

    def _known(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = request.headers.get("x-api-key", "")
        sent = given.strip().encode("latin-1")  # the bytes as they came, of a key beyond ASCII, too
        # Every key is compared, each in constant time: the answer's delay tells nothing about them.
        matches = [hmac.compare_digest(sent, key) for key in self._keys]
        return any(matches)


async def documented_key(
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Puts the key into the OpenAPI document; `KeyCheck` has looked at it by then."""
