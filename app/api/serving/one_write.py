"""The header of an answer and the beginning of its body in one system call."""

from __future__ import annotations

import asyncio


class OneWrite:
    """What one answer is written to, in place of the connection's transport.

    uvicorn writes the header by itself and uvloop passes on every write at once, as a packet of its own. Here
    the first write waits for the second, but not beyond the turn of the event loop: a stream that has nothing
    to say yet has begun all the same.
    """

    __slots__ = ("_begun", "_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._begun = False
        self._held = b""

    def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._held = data
            self._loop.call_soon(self._flush)
        elif self._held:
            held, self._held = self._held, b""
            self._transport.writelines([held, data])
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(self._held)
        self._held = b""
