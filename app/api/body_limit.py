"""How much of a request is read at most."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.headers import header
from app.api.problems import problem_response
from app.errors import REMEDIES

_STREAMED = re.compile(r"/v1/datasets/[^/]+/samples")


class BodyLimit:
    """Answers 413 to a body over the limit, told in advance or found out while it comes in.

    Samples are streamed and may be of any length; their route has its own limits of a row and of a JSON body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._detail = f"a body may have {max_bytes} bytes here"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        length = header(scope, b"content-length")
        if length.isdigit() and int(length) > self._max_bytes:
            code = "body_too_large"
            await problem_response(Request(scope), 413, code, self._detail, REMEDIES[code])(
                scope, receive, send
            )
            return
        held = 0

        async def receive_within_limit() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            if held > self._max_bytes:
                raise HTTPException(413, self._detail)
            return message

        await self._app(scope, receive_within_limit, send)
