"""Routes that are asked thousands of times a second, answered before FastAPI's reading and writing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from re import Pattern

from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.context import QUIET
from app.api.dependencies import Service
from app.api.problems import EXPECTED, answer_to

Answer = Callable[[Service, Request], Awaitable[bytes | None]]


@dataclass(frozen=True)
class DirectRoute:
    """The shorter way to the success of an ordinary route.

    The ordinary route describes itself in the OpenAPI document, is what this one is tested against, and
    answers what this one declines: it alone knows the refusals.

    Args:
        path: that of the ordinary route.
        answer: the JSON of a success, or None to decline.
    """

    method: str
    path: str
    answer: Answer
    pattern: Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", compile_path(self.path)[0])


class DirectRoutes:
    """Tries these routes before the application that holds the ordinary ones."""

    def __init__(self, app: ASGIApp, routes: Sequence[DirectRoute], service: Service) -> None:
        self._app = app
        self._routes = routes
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for route in self._routes:
            found = route.pattern.match(scope["path"]) if scope["method"] == route.method else None
            if found is not None:
                scope["path_params"] = found.groupdict()
                await self._answer(route, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, route: DirectRoute, scope: Scope, receive: Receive, send: Send) -> None:
        heard: list[Message] = []

        async def listen() -> Message:
            message = await receive()
            heard.append(message)
            return message

        scope["route"] = route
        request = Request(scope, listen)
        try:
            body = await route.answer(self._service, request)
        except Exception as error:
            problem = await answer_to(request, error)
            await problem(scope, receive, send)
            if not isinstance(error, EXPECTED):
                raise
            return
        if body is None:
            await self._app(scope, _told_again(heard, receive), send)
            return
        scope[QUIET] = True
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _told_again(heard: list[Message], receive: Receive) -> Receive:
    """What has been received already, and then the rest."""
    left = iter(heard)

    async def tell() -> Message:
        message = next(left, None)
        return await receive() if message is None else message

    return tell
