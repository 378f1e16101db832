"""A span for each request, where traces are sent at all."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import header
from app.tracing import span


class Traced:
    """Stands before everything else. The caller's own trace, if it sends one, is gone on with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parent = header(scope, b"traceparent").decode("latin-1")
        method: str = scope["method"]
        with span(method, parent=parent, kind="server", http__request__method=method) as opened:

            async def send_told(message: Message) -> None:
                if opened is not None and message["type"] == "http.response.start":
                    opened.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, send_told)
            finally:
                if opened is not None:
                    route = getattr(scope.get("route"), "path", "")
                    opened.update_name(f"{method} {route}".strip())
                    opened.set_attribute("http.route", route)
                    opened.set_attribute("gradsift.request_id", scope.get("request_id", ""))
