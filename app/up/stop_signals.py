"""Waiting that a signal ends: the wish to stop, or a child that ended."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType

SAME_PRESS_SECONDS = 0.3
"""Signals that come together (a terminal's and a parent's) are one wish to stop, not impatience."""


class StopSignals:
    """Counts the wishes to stop, and lets a wait end at once when one comes or a child ends."""

    def __init__(self, wake: socket.socket) -> None:
        self.stops: list[float] = []
        self._wake = wake

    @property
    def hurried(self) -> bool:
        return len(self.stops) > 1

    def on_stop(self, _signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.stops or now - self.stops[-1] > SAME_PRESS_SECONDS:
            self.stops.append(now)

    def wait(self, seconds: float) -> None:
        if select.select([self._wake], [], [], seconds)[0]:
            self._wake.recv(4096)


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    # A pipe, not an Event: setting an Event in a signal handler can deadlock with the wait it interrupts.
    receive, send = socket.socketpair()
    receive.setblocking(False)
    send.setblocking(False)
    signals = StopSignals(receive)
    wanted = {signal.SIGINT: signals.on_stop, signal.SIGTERM: signals.on_stop, signal.SIGCHLD: _only_wake}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored: started by nohup
        wanted[signal.SIGHUP] = signals.on_stop
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    before_fd = signal.set_wakeup_fd(send.fileno(), warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(before_fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        receive.close()
        send.close()


def _only_wake(_signum: int, _frame: FrameType | None) -> None:
    """A handler must be there for the wake-up to be written; the loop asks the parts themselves."""
