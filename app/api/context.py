"""What every request carries: its id, its key check, its measurement."""

from __future__ import annotations

import logging
import re
import time
from functools import cache

from prometheus_client import Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import headers_of, request_id
from app.api.metrics import REQUEST_SECONDS, REQUESTS_UNDER_WAY
from app.logs import get_logger, log_context

QUIET = "gradsift.quiet"
"""In the scope of a request that is measured, but worth a log line in debugging only."""
_OF_A_USER = "/{user"
"""In the route of a path that names a user: the log gets the route in its place."""
_SUBJECT = re.compile(
    r"/v1/(?:datasets/(?P<dataset>[A-Za-z0-9][A-Za-z0-9._-]{0,63})|jobs/(?P<job_id>job_[0-9a-f]{22}))(?:/|\Z)"
)
"""What a path is about; a name that cannot be one's is not told under it."""
_QUIET_ROUTES = ("/healthz", "/readyz", "/metrics")
log = get_logger(__name__)
_logger = logging.getLogger(__name__)  # says in no time whether a line is wanted


def request_id_of(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


class RequestContext:
    """Gives each request an id (the client's own, if it is harmless), logs and measures it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = request_id(scope["headers"])
        scope["request_id"] = given
        own_headers = ((b"x-request-id", given.encode()), *headers_of(scope["path"]))
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = [pair for pair in message["headers"] if pair[0] != b"cache-control"]
                message["headers"] = [*given, *own_headers]
            await send(message)

        REQUESTS_UNDER_WAY.inc()
        with log_context(request_id=given, **_subject(scope["path"])):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                REQUESTS_UNDER_WAY.dec()
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "(none)")
                _measured(scope["method"], route, status).observe(seconds)
                level = logging.DEBUG if route in _QUIET_ROUTES or QUIET in scope else logging.INFO
                if _logger.isEnabledFor(level):
                    log.log(
                        level,
                        "request",
                        method=scope["method"],
                        path=route if _OF_A_USER in route else scope["path"],
                        status=status,
                        ms=round(seconds * 1000, 1),
                    )


def _subject(path: str) -> dict[str, str]:
    found = _SUBJECT.match(path)
    return {} if found is None or found.lastgroup is None else {found.lastgroup: found[found.lastgroup]}


@cache
def _measured(method: str, route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(method, route, status)
