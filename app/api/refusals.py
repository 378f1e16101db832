"""Problem documents that are ready before they are needed: only the request's id is put in."""

from __future__ import annotations

import json

from starlette.types import Scope, Send

from app.api.problems import MEDIA_TYPE, problem_body
from app.errors import REMEDIES

_ID = "*id*"


class Refusal:
    """Retry-After is short: a process that refuses is at work, and has places again in a moment."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status, self.code = status, code
        body = json.dumps(problem_body(status, code, detail, REMEDIES[code], _ID), separators=(",", ":"))
        self._before, _, self._after = (part.encode() for part in body.partition(_ID))

    def body(self, request_id: str) -> bytes:
        return b"%b%b%b" % (self._before, request_id.encode(), self._after)

    def headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        own = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        return [*own, (b"retry-after", b"1")] if self.status in (429, 503) else own

    async def send(self, scope: Scope, send: Send) -> None:
        body = self.body(scope["request_id"])
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers(body)})
        await send({"type": "http.response.body", "body": body})
