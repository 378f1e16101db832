"""RFC 9457 problem documents, and the one table from domain error to HTTP status."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from app.api.context import request_id_of
from app.api.facts import tell
from app.api.metrics import REQUESTS_REFUSED
from app.errors import (
    REMEDIES,
    Busy,
    Conflict,
    Forbidden,
    GradSiftError,
    Invalid,
    Malformed,
    NotFound,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from app.logs import get_logger
from app.store.connections import REFUSED, TRANSIENT, refusal

STATUS: Mapping[type[GradSiftError], int] = {
    Malformed: 400,
    Unauthorized: 401,
    Busy: 429,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Invalid: 422,
    Unavailable: 503,
    TimedOut: 504,
}
_HTTP_CODES = {404: "unknown_route", 405: "method_not_allowed", 413: "body_too_large", 400: "invalid_json"}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100
"""What is told of a request with more that is wrong: an answer must not outgrow its question."""
log = get_logger(__name__)


class ProblemItem(BaseModel):
    """One of several things that are wrong."""

    index: int | None = None
    pointer: str | None = None
    id: str | None = None
    code: str | None = None
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    request_id: str
    errors: list[ProblemItem] | None = None


class ProblemResponse(JSONResponse):
    """Half of a surrogate pair, which a client may have sent, goes back escaped as it came."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )


def problem_body(status: int, code: str, detail: str, remedy: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:gradsift:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": remedy,
        "request_id": request_id,
    }


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    remedy: str,
    errors: Sequence[Mapping[str, Any]] = (),
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    tell(request, code=code)
    body = problem_body(status, code, detail, remedy, request_id_of(request))
    if errors:
        body["errors"] = list(errors)
    REQUESTS_REFUSED.labels(status, code).inc()
    headers = {"Retry-After": "2"} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ProblemResponse(body | dict(extra or {}), status, headers=headers)


def install_problem_handlers(app: FastAPI) -> None:
    for kind, handler in _HANDLERS.items():
        app.exception_handler(kind)(handler)
    app.exception_handler(Exception)(_unexpected)


async def answer_to(request: Request, error: Exception) -> JSONResponse:
    """The problem document of an error."""
    handler = next((_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS), _unexpected)
    return await handler(request, error)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GradSiftError)
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    return problem_response(request, status, error.code, error.detail, error.remedy, error.errors)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        reason = found[0].get("ctx", {}).get("error", "it cannot be read")
        return problem_response(
            request, 400, "invalid_json", f"the body is not JSON: {reason}", REMEDIES["invalid_json"]
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found[0]["loc"] == ("body",) and found[0]["type"] != "missing" and not kind.endswith("json"):
        code, detail = "unsupported_media_type", f"a JSON body is wanted here; this one is of type {kind!r}"
        return problem_response(request, 415, code, detail, REMEDIES[code])
    errors = [{"pointer": _pointer(item["loc"]), "detail": item["msg"]} for item in found[:MOST_ERRORS]]
    detail = "; ".join(f"{item['pointer']}: {item['detail']}" for item in errors[:3])
    own = {item["type"] for item in found} & REMEDIES.keys()
    code = own.pop() if len(own) == len(found) == 1 else "invalid_request"
    return problem_response(request, 422, code, detail, REMEDIES[code], errors)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    response = problem_response(request, error.status_code, code, detail, REMEDIES[code])
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> list[str]:
    """The methods of the path; the router itself names those of the first route only that has it."""
    routes: Sequence[BaseRoute] = request.app.routes
    asked = [(method, {**request.scope, "method": method}) for method in _METHODS]
    return [method for method, scope in asked if any(r.matches(scope)[0] is Match.FULL for r in routes)]


async def _client_left(request: Request, _: Exception) -> JSONResponse:
    """Nobody reads this answer; what counts is that a torn connection is no defect of the service."""
    code = "invalid_request"
    return problem_response(request, 400, code, "the connection ended before the body did", REMEDIES[code])


async def _redis_away(request: Request, error: Exception) -> JSONResponse:
    log.warning("redis does not answer", error=str(error))
    code = "service_unavailable"
    return problem_response(request, 503, code, "Redis does not answer", REMEDIES[code])


async def _redis_refuses(request: Request, error: Exception) -> JSONResponse:
    code = refusal(error)
    if code is None:
        return await _unexpected(request, error)
    log.error("redis refuses writes", error=str(error))
    return problem_response(request, 503, code, f"Redis refuses writes: {error}", REMEDIES[code])


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error, path=request.url.path)
    code = "internal_error"
    return problem_response(request, 500, code, "something went wrong inside the service", REMEDIES[code])


_HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    GradSiftError: _domain_error,
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
    ClientDisconnect: _client_left,
    **dict.fromkeys(TRANSIENT, _redis_away),
    REFUSED: _redis_refuses,
}
EXPECTED = tuple(_HANDLERS)
"""Errors that have an answer of their own; any other is a defect."""


def _pointer(location: Sequence[str | int]) -> str:
    """A JSON pointer into the body, or `query/limit` and the like for what is not in it."""
    place, *path = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "/" + "/".join(path) if place == "body" else "/".join([place, *path])
