"""A request that takes long ends with the key that it came with."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Message, Receive, Send

from app.contracts.access import Principal
from app.errors import Unauthorized
from app.services.key_ring import KeyRing

LOOK_SECONDS = 0.5
"""How often it is looked whether a key is still good."""


class WatchedRequest:
    """What a request receives, until its key is revoked or expires.

    Then whoever reads the body meets `unauthorized`; where the answer has begun, its stream is cut off as if
    the client had left, so that the client sees that it is not whole.
    """

    __slots__ = ("_answering", "_look_at", "_principal", "_receive", "_received", "_ring", "_send")

    def __init__(self, ring: KeyRing, principal: Principal, receive: Receive, send: Send) -> None:
        self._ring = ring
        self._principal = principal
        self._receive = receive
        self._send = send
        self._answering = self._received = False
        self._look_at = time.monotonic() + LOOK_SECONDS

    async def send(self, message: Message) -> None:
        self._answering = True
        await self._send(message)

    async def receive(self) -> Message:
        """Raises Unauthorized."""
        if not self._received:  # most requests receive once, and need not pay for a timer
            self._received = True
            message = await self._receive()
            if time.monotonic() < self._look_at or await self._ring.holds(self._principal):
                return message
            return self._over()
        while await self._good():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    return await self._receive()
            except TimeoutError:
                continue
        return self._over()

    async def _good(self) -> bool:
        if time.monotonic() < self._look_at:
            return True
        self._look_at = time.monotonic() + LOOK_SECONDS
        return await self._ring.holds(self._principal)

    def _over(self) -> Message:
        if self._answering:
            return {"type": "http.disconnect"}
        raise Unauthorized("unauthorized", "the key was revoked or has expired meanwhile")
