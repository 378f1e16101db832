"""Every request that changes something leaves an entry in the audit log, refused or not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from anyio import CancelScope
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.facts import told
from app.api.problems import EXPECTED, answer_to
from app.contracts import now
from app.contracts.access import PRINCIPAL, Principal
from app.contracts.audit import AuditEntry, Outcome
from app.contracts.base import rfc3339
from app.logs import get_logger
from app.store.audit import AuditDesk, new_entry_id
from app.store.connections import REFUSED, TRANSIENT

_BEGUN = "gradsift.audit"
"""In the scope of a request whose entry is `AuditDeeds`' to write."""
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_DATASET, _JOB = "/v1/datasets/{dataset}", "/v1/jobs/{job}"
ACTIONS: tuple[tuple[str, str, str], ...] = (
    ("PUT", _DATASET, "dataset.write"),
    ("DELETE", _DATASET, "dataset.delete"),
    ("POST", f"{_DATASET}/samples", "samples.write"),
    ("DELETE", f"{_DATASET}/samples/{{sample}}", "sample.delete"),
    ("POST", f"{_DATASET}/samples/{{sample}}/review", "review.write"),
    ("DELETE", f"{_DATASET}/samples/{{sample}}/review", "review.withdraw"),
    ("POST", f"{_DATASET}/reviews/import", "reviews.import"),
    ("POST", f"{_DATASET}/events", "events.write"),
    ("POST", f"{_DATASET}/items", "items.write"),
    ("DELETE", f"{_DATASET}/users/*/events", "user.forget"),  # whose, is not entered
    ("POST", "/v1/jobs", "job.create"),
    ("POST", f"{_JOB}/cancel", "job.cancel"),
    ("POST", f"{_DATASET}/scores/lookup", ""),
    ("POST", f"{_DATASET}/predict", ""),
    ("POST", f"{_DATASET}/map/ids", ""),
)
"""Method, path and action; no action: nothing is changed. Whatever is not named is entered as `unknown`."""
log = get_logger(__name__)


class Deed(NamedTuple):
    action: str
    named: dict[str, str]


def _pattern(path: str) -> re.Pattern[str]:
    escaped = re.escape(path).replace(r"\*", ".*")
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", escaped), re.DOTALL)


_PATTERNS = [(method, _pattern(path), action) for method, path, action in ACTIONS]
_ANY_DATASET = re.compile(r"/v1/datasets/(?P<dataset>[^/]+)(?:/.*)?", re.DOTALL)


def deed_of(scope: Scope) -> Deed | None:
    """What the request would change; None where it only looks."""
    method, path = scope["method"], scope["path"]
    if method in _LOOKING or not (path + "/").startswith("/v1/"):
        return None
    for of_method, pattern, action in _PATTERNS:
        found = pattern.fullmatch(path) if of_method == method else None
        if found is not None:
            return Deed(action, found.groupdict()) if action else None
    found = _ANY_DATASET.fullmatch(path)
    return Deed("unknown", found.groupdict() if found else {})


class AuditDeeds:
    """Writes down who is about to do what, and then what came of it. What cannot be written down is refused.

    To be placed behind the check of keys. Costs a request two round trips to Redis, the second of them after
    its answer.
    """

    def __init__(self, app: ASGIApp, desk: AuditDesk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        deed = deed_of(scope)
        if deed is None:
            await self._app(scope, receive, send)
            return
        scope[_BEGUN] = True
        entry = _entry(scope, deed)
        try:
            await self._desk.begin(entry)
        except EXPECTED as error:
            answer = await answer_to(Request(scope), error)
            await answer(scope, receive, send)
            return
        watched = _Watched(send)
        try:
            await self._app(scope, receive, watched.send)
        finally:
            with CancelScope(shield=True):
                await self._end(_ended(entry, scope, watched))

    async def _end(self, entry: AuditEntry) -> None:
        try:
            await self._desk.end(entry)
        except (*TRANSIENT, REFUSED) as error:
            # What was begun is written down; it is entered as `unknown` in a day.
            log.warning("what came of a request is missing in the audit log", id=entry.id, error=str(error))


class AuditRefusals:
    """Enters what was refused before it was begun: no key, one that does not open this, too much at once.

    To be placed before the check of keys. Those who try keys cannot fill the log: beyond `FREE` entries at
    once and `A_SECOND` from then on, refusals are counted in the next entry.

    Args:
        take_untold: how many were refused since it was asked last without coming here; counted likewise.
    """

    FREE, A_SECOND = 50.0, 10.0

    def __init__(self, app: ASGIApp, desk: AuditDesk, take_untold: Callable[[], int]) -> None:
        self._app = app
        self._desk = desk
        self._take_untold = take_untold
        self._left, self._at = self.FREE, time.monotonic()
        self._left_out = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        deed = deed_of(scope)
        if deed is None:
            await self._app(scope, receive, send)
            return
        watched = _Watched(send)
        try:
            await self._app(scope, receive, watched.send)
        finally:
            if _BEGUN not in scope:
                with CancelScope(shield=True):
                    await self._enter(_ended(_entry(scope, deed), scope, watched))

    async def _enter(self, entry: AuditEntry) -> None:
        moment = time.monotonic()
        self._left = min(self.FREE, self._left + (moment - self._at) * self.A_SECOND)
        self._at = moment
        if self._left < 1:
            self._left_out += 1
            return
        self._left -= 1
        left_out, self._left_out = self._left_out + self._take_untold(), 0
        try:
            if await self._desk.enter(msgspec.structs.replace(entry, left_out=left_out)):
                return
        except (*TRANSIENT, REFUSED) as error:
            log.warning("a refusal is missing in the audit log", id=entry.id, error=str(error))
        self._left_out += left_out + 1


@dataclass
class _Watched:
    """Lets an answer through and remembers its status."""

    to: Send
    status: int = 500

    def __post_init__(self) -> None:
        self.started = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self.to(message)

    @property
    def ms(self) -> float:
        return round((time.perf_counter() - self.started) * 1000, 1)


def _entry(scope: Scope, deed: Deed) -> AuditEntry:
    caller: Principal = scope.get(PRINCIPAL) or Principal(name="")
    return AuditEntry(
        id=new_entry_id(),
        at=rfc3339(now()),
        action=deed.action,
        outcome=Outcome.OPEN,
        request_id=scope.get("request_id", ""),
        key_id=caller.key_id,
        key_name=caller.name,
        client=(scope.get("client") or ("",))[0],
        dataset=deed.named.get("dataset", ""),
        job=deed.named.get("job", ""),
        sample=deed.named.get("sample", ""),
    )


def _ended(entry: AuditEntry, scope: Scope, watched: _Watched) -> AuditEntry:
    status = watched.status
    outcome = Outcome.DONE if status < 400 else Outcome.REFUSED if status < 500 else Outcome.FAILED
    ended = {"outcome": outcome, "status": status, "ms": watched.ms}
    return msgspec.structs.replace(entry, **{**ended, **told(scope)})
