"""Bounded work inside a process: what cannot be done soon is refused at once, with next to no work."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.context import QUIET
from app.api.gate import Gate
from app.api.kinds_of_work import Work, work_of
from app.api.metrics import REQUESTS_REFUSED, REQUESTS_SHED
from app.api.refusals import Refusal
from app.logs import get_logger
from app.settings import Settings

WAIT_SECONDS = 0.015
"""How long a request may wait for a place: less than a third of what its refusal may take."""
SPARE_THREADS = 8
"""For health, for the queue and for housekeeping, which nothing here holds up."""
TELL_SECONDS = 5.0
PROBE_SECONDS = 0.025
LAG_SECONDS = 0.005
"""An event loop that comes so late to what is due has too much to do: even its refusals are late then."""
LEAST_SHARE, SHRINKING, GROWTH = 0.05, 0.7, 0.005
"""Of all places; at a probe that was late; at one that was not."""
_ADAPTED = (Work.LOOKUPS, Work.BATCHES, Work.ORDINARY, Work.ROWS)
"""Those whose work is mostly the loop's own, or keeps the interpreter from it."""
_LOOKING = (Work.LOOKUPS, Work.BATCHES)
_SMALL_BODY = 1 << 20
"""A refused request's body is read to its end, so that its connection can go on; not one that is longer."""
log = get_logger(__name__)


def gates_of(settings: Settings) -> dict[Work, Gate]:
    """Those who stay for long never have all places for one dataset."""
    lookups, requests = settings.max_lookups, settings.max_requests
    batches = max(1, lookups // 8)
    rows, streams = settings.max_writers, settings.max_streams
    return {
        Work.LOOKUPS: Gate(lookups, waiting=lookups, seconds=WAIT_SECONDS, least=8),
        Work.BATCHES: Gate(batches, waiting=batches, seconds=WAIT_SECONDS, least=2),
        Work.ORDINARY: Gate(requests, waiting=requests, seconds=WAIT_SECONDS, least=4),
        Work.ROWS: Gate(rows, waiting=rows, seconds=WAIT_SECONDS, most_of_one=_most_of_one(rows), least=2),
        Work.STREAMS: Gate(streams, waiting=streams, seconds=WAIT_SECONDS, most_of_one=_most_of_one(streams)),
    }


def threads_needed(settings: Settings) -> int:
    """So that whatever is let in has a thread when it needs one, and health is asked in vain never."""
    return settings.max_requests + settings.max_writers + settings.max_streams + SPARE_THREADS


def _most_of_one(places: int) -> int:
    return places - places // 4


class Admission:
    """Lets a request in if its kind of work has a place for its dataset, or refuses it.

    Look-ups are refused by their own number only: a flood of anything else takes no place of theirs.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self.gates = gates_of(settings)
        self._refusals = {
            work: Refusal(503, "overloaded", f"{gate.places} requests of this kind are at work already")
            for work, gate in self.gates.items()
        }
        rows = f"{self.gates[Work.ROWS].places} requests with rows are under way"
        self._refusals[Work.ROWS] = Refusal(429, "too_many_writers", rows)
        self._share = 1.0
        for work in Work:
            REQUESTS_SHED.labels(work.value)  # there from the start, as nought
        self._refused = 0
        self._tell_at = 0.0
        self._untold = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work, dataset = work_of(scope["method"], scope["path"], scope["query_string"])
        if work is None:
            await self._app(scope, receive, send)
            return
        gate = self.gates[work]
        if not gate.enter(dataset) and not await gate.wait(dataset):
            self._note(work)
            scope[QUIET] = True
            await self._refusals[work].send(scope, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            gate.leave(dataset)

    def watch(self) -> None:
        """From now on, and as long as the running event loop runs."""
        loop = asyncio.get_running_loop()

        def probe(due: float) -> None:
            self.feel(loop.time() - due)
            loop.call_later(PROBE_SECONDS, probe, loop.time() + PROBE_SECONDS)

        probe(loop.time())

    def feel(self, lag: float) -> None:
        """Fewer places while the loop lags (s), all again by and by; to be called every `PROBE_SECONDS`."""
        if lag > LAG_SECONDS:
            self._share = max(LEAST_SHARE, SHRINKING * self._share)
        elif self._share < 1.0:
            self._share = min(1.0, self._share + GROWTH)
        else:
            return
        for work in _ADAPTED:
            self.gates[work].shrink_to(self._share)

    @property
    def strained(self) -> bool:
        return self._share < 1.0

    def turns_away(self, method: str, path: str, query: bytes, body_bytes: int | None) -> Refusal | None:
        """Before a request is even begun: the refusal of one with neither a place nor one to wait in.

        A process that has too much to do must not spend itself on refusals, so these skip all that a request
        carries: those that look, and those that bring rows, of which the audit log is told the number.
        Whatever else changes something is refused the long way, with an entry.

        Args:
            body_bytes: how long the body is; None where that is not said.
        """
        work, dataset = work_of(method, path, query)
        brings_rows = work is Work.ROWS and body_bytes is not None and body_bytes <= _SMALL_BODY
        looks = work in _LOOKING or (work is Work.ORDINARY and method == "GET")
        if work is None or not (looks or brings_rows) or not self.gates[work].turns_away(dataset):
            return None
        if brings_rows:
            self._untold += 1
        self._note(work)
        return self._refusals[work]

    def take_untold(self) -> int:
        """Requests with rows that were turned away since this was asked last."""
        untold, self._untold = self._untold, 0
        return untold

    def _note(self, work: Work) -> None:
        """One line for many: a line for each would cost more than the refusals."""
        refusal = self._refusals[work]
        REQUESTS_SHED.labels(work.value).inc()
        REQUESTS_REFUSED.labels(refusal.status, refusal.code).inc()
        self._refused += 1
        if time.monotonic() >= self._tell_at:
            log.warning("requests refused: too many at once", refused=self._refused, kind=work.value)
            self._refused, self._tell_at = 0, time.monotonic() + TELL_SECONDS
