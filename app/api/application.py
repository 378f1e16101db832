"""FastAPI with what stands before it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.document import complete


class Api(FastAPI):
    """Every request meets `front`, which hands on to FastAPI what it does not answer itself.

    As middleware of FastAPI it would stand behind FastAPI's own, which costs as much as all of ours.
    """

    front: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def answer_ordinarily(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Made once, as FastAPI does, and completed."""
        if self.openapi_schema is None:
            complete(super().openapi())
        document: dict[str, Any] = super().openapi()
        return document
