"""One connection of a client, as uvicorn has it, and what the server must know and do of it beyond that."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.admission import Admission
from app.api.headers import headers_of, new_request_id, request_id
from app.api.refusals import Refusal
from app.api.serving.limits import CROWDED_KEEP_SECONDS, CROWDED_SHARE, LEAST_BYTES, Limits
from app.api.serving.one_write import OneWrite
from app.api.stopping import Stopping

_INVALID = Refusal(400, "invalid_request", "that is no HTTP request")


class Connection(HttpToolsProtocol):
    """stopping, limits, admission: set by `connection_kind`, the same for all connections of a process."""

    stopping: Stopping
    limits: Limits
    admission: Admission
    _header_since: float | None = None
    _turned_away = False
    _header_bytes = 0
    _crowded = False
    _heard = 0
    _mark: tuple[float, int] | None = None
    """Since when the client owes something, and how much had come, or was left to be taken, at that time."""

    # -- what uvicorn and the parser call ----------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_since = time.monotonic()
        self._crowded = len(self.connections) > self.limits.max_connections

    def data_received(self, data: bytes) -> None:
        self._heard += len(data)
        if self._crowded:
            self.answer_and_close(self.limits.crowded)
            return
        super().data_received(data)
        if not self.busy and self.timeout_keep_alive_task is None and self._header_since is None:
            # An empty line, which begins no request, or a piece of a body that is not wanted.
            self._header_since = time.monotonic()
        if self._header_since is not None and not self._turned_away:
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.max_header_bytes and not self.transport.is_closing():
                self.answer_and_close(self.limits.header_too_large)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_since, self._header_bytes = time.monotonic(), 0
        self._turned_away = False

    def on_headers_complete(self) -> None:
        if self.admission.strained and not self.busy and self._turn_away():
            return
        super().on_headers_complete()
        self._header_since = self._mark = None
        if self._under_way is not None:
            self.cycle.transport = OneWrite(self.transport, self.loop)  # type: ignore[assignment]
            if self.stopping.draining:
                self.cycle.keep_alive = False  # which uvicorn tells the client

    def on_body(self, body: bytes) -> None:
        if not self._turned_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._turned_away:
            self._await_next()
        else:
            super().on_message_complete()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._mark = None

    def send_400_response(self, _: str) -> None:
        self.answer_and_close(_INVALID)

    # -- too much at once --------------------------------------------------------------------------------
    def _turn_away(self) -> bool:
        """Refuses a request that would find no place, without what uvicorn makes for each."""
        url, _, query = self.url.partition(b"?")
        path = unquote(url.decode("ascii", "replace"))
        method = self.parser.get_method().decode("ascii")
        refusal = self.admission.turns_away(method, path, query, self._body_bytes())
        if refusal is None:
            return False
        self._turned_away, self._header_since, self._mark = True, None, None
        self._write(refusal, request_id(self.headers), headers_of(path))
        self.server_state.total_requests += 1
        return True

    def _await_next(self) -> None:
        """After one that was turned away has come to its end."""
        self._turned_away, self._header_since = False, None
        self._unset_keepalive_if_required()
        if self.parser.should_keep_alive():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.close()

    def _body_bytes(self) -> int | None:
        """As the client says: nothing without a word, None for a body that comes in pieces."""
        said = dict(self.headers)
        if b"transfer-encoding" in said:
            return None
        length = said.get(b"content-length", b"0")
        return int(length) if length.isdigit() else None

    # -- idle clients ------------------------------------------------------------------------------------
    def timeout_keep_alive_handler(self) -> None:
        """A late loop comes here before it reads what was sent in time: that is answered first."""
        self.close_if_idle()

    def _in_a_crowd(self) -> bool:
        return len(self.connections) > CROWDED_SHARE * self.limits.max_connections

    def _kept_for(self) -> float:
        """Seconds since its last answer, while nothing further has come."""
        ending: asyncio.TimerHandle | None = self.timeout_keep_alive_task
        return 0.0 if ending is None else self.timeout_keep_alive - (ending.when() - self.loop.time())

    # -- slow clients ------------------------------------------------------------------------------------
    def hurry(self, now: float) -> None:
        """Ends the connection of a client that is too slow, or idle in a crowd: once a second or so."""
        if self.transport.is_closing():
            return
        if self._kept_for() > CROWDED_KEEP_SECONDS and self._in_a_crowd():
            self.close_if_idle()
        elif self._header_since is not None and now - self._header_since > self.limits.header_seconds:
            self._end_slow_header()
        elif self.flow.write_paused:
            left = self.transport.get_write_buffer_size()
            if self._owes(now, -left):
                self.transport.abort()
        elif self.busy and self._awaits_body():
            if self._owes(now, self._heard):
                self.answer_and_close(self.limits.body_too_slow)
        else:
            self._mark = None

    def _end_slow_header(self) -> None:
        if self._heard and not self.busy:
            self.answer_and_close(self.limits.header_too_slow)
        elif not self.busy:
            self.transport.close()  # as one that has been idle

    def _awaits_body(self) -> bool:
        cycle = self.cycle
        return cycle.more_body and not (self.flow.read_paused or cycle.waiting_for_100_continue)

    def _owes(self, now: float, moved: int) -> bool:
        """Whether a whole `stall_seconds` has brought next to nothing."""
        if self._mark is None:
            self._mark = (now, moved)
            return False
        since, before = self._mark
        if now - since < self.limits.stall_seconds:
            return False
        self._mark = (now, moved)
        return moved - before < LEAST_BYTES

    # -- the end -----------------------------------------------------------------------------------------
    def say_farewell(self) -> None:
        """The answer under way, unless its header is out already, will be this connection's last."""
        if self.busy and not self.cycle.response_started:
            self.cycle.keep_alive = False

    @property
    def busy(self) -> bool:
        return self._under_way is not None and not self.cycle.response_complete

    @property
    def _under_way(self) -> RequestResponseCycle | None:
        """The last request: uvicorn says that there is one even before there is."""
        return self.cycle

    def close_if_idle(self) -> None:
        """Unless the client has sent something by now, which the loop may not have read yet."""
        begun = self._header_since is not None and self._heard > 0
        if not (self.busy or begun or self._heard_from()):
            self.transport.close()

    def answer_and_close(self, refusal: Refusal) -> None:
        """Answers in the application's place where it has not begun to; its own answer goes nowhere."""
        if self.busy and self.cycle.response_started:
            self.transport.abort()
            return
        self._write(refusal, self._request_id(), [(b"connection", b"close")])
        if self.busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _write(self, refusal: Refusal, given: str, more: Iterable[tuple[bytes, bytes]]) -> None:
        body = refusal.body(given)
        lines = [STATUS_LINE[refusal.status]]
        own = [(b"x-request-id", given.encode()), *more]
        for name, value in [*self.server_state.default_headers, *refusal.headers(body), *own]:
            lines += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*lines, b"\r\n", body]))

    def _request_id(self) -> str:
        known = getattr(self.scope, "get", lambda _: None)("request_id")  # there is none before a header
        return str(known or new_request_id())

    def _heard_from(self) -> bool:
        """Without reading it."""
        own: Any = self.transport.get_extra_info("socket")
        if own is None:
            return False
        try:
            with socket.socket(fileno=os.dup(own.fileno())) as peeked:
                return bool(peeked.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False


def connection_kind(stopping: Stopping, limits: Limits, admission: Admission) -> type[Connection]:
    """What uvicorn makes of each connection; it makes them itself, so that this comes by their class."""
    return type("Connection", (Connection,), {"stopping": stopping, "limits": limits, "admission": admission})
