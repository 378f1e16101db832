"""The OpenAPI document, with the problem documents that any route may answer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api.problems import MEDIA_TYPE, Problem

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What is wrong with the request.", "content": _CONTENT},
    "5XX": {"description": "A part of the service does not answer now.", "content": _CONTENT},
}


class DocumentedApi(FastAPI):
    """FastAPI describes a model under `application/json` only; the problem's own schema is added here."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schemas: dict[str, Any] = document["components"]["schemas"]
        if "Problem" not in schemas:
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
        return document
