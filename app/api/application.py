"""FastAPI with what stands before it, and the OpenAPI document with the problem documents of every route."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import MEDIA_TYPE, Problem

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What is wrong with the request.", "content": _CONTENT},
    "5XX": {"description": "A part of the service does not answer now.", "content": _CONTENT},
}
KEY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {
        "description": "The request carries no valid API key.",
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
        "content": _CONTENT,
    },
    403: {
        "description": "The key opens something else, or the settings do not allow it.",
        "content": _CONTENT,
    },
    429: {
        "description": "Too much at a time, or with one key.",
        "headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
        "content": _CONTENT,
    },
}


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
        """FastAPI describes a model under `application/json` only; the problem's own schema is added here."""
        document = super().openapi()
        schemas: dict[str, Any] = document["components"]["schemas"]
        if "Problem" not in schemas:
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
        return document
