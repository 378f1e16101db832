"""The audit log's newest part, in Redis: what is under way, and what has ended but is not in a file yet.

A deed is written down before it is begun and moved to the stream when it has ended, in one step and once,
however often that is sent. So a process that dies, or a server that loses its tail, leaves no deed without a
trace.
"""

from __future__ import annotations

import getpass
import secrets
from typing import cast

import redis

from app.contracts import Job, now
from app.contracts.access import JobOrigin
from app.contracts.audit import AuditEntry, Outcome, entry_of, line_of
from app.contracts.base import rfc3339
from app.errors import Unavailable
from app.store.exchange import Exchange
from app.store.keys import Keys
from app.store.scripts import Scripts, script_source
from app.store.wire import pack

MOST_WAITING = 100_000
"""Entries that wait for a file, some 40 MB; beyond that changing requests are refused."""
_ENTRY = b"e"


def new_entry_id() -> str:
    return secrets.token_hex(8)


class AuditLog:
    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys.audit
        self._scripts = Scripts(client)

    def append(self, entry: AuditEntry) -> None:
        self._client.xadd(self._keys.stream, {_ENTRY: line_of(entry)})

    def job_ended(self, job: Job, origin: JobOrigin) -> None:
        """To be called once the end is recorded."""
        begun, ended = job.started_at or job.created_at, job.finished_at or now()
        self.append(
            AuditEntry(
                id=new_entry_id(),
                at=rfc3339(ended),
                action="job.ended",
                outcome=Outcome.FAILED if job.error else Outcome.DONE,
                request_id=origin.request_id,
                key_id=origin.key_id,
                dataset=job.dataset,
                job=job.id,
                kind=job.kind.value,
                state=job.state.value,
                code=job.error.code if job.error else "",
                counts={"attempts": job.attempt},
                ms=round((ended - begun).total_seconds() * 1000, 1),
            )
        )

    def deed(self, action: str, *, subject: str = "", **counts: int) -> None:
        """What somebody did to the state at the command line."""
        entry = AuditEntry(
            id=new_entry_id(),
            at=rfc3339(now()),
            action=action,
            outcome=Outcome.DONE,
            key_id="cli",
            key_name=_user(),
            subject=subject,
            counts=counts,
        )
        self.append(entry)

    def waiting(self, limit: int) -> list[tuple[str, AuditEntry]]:
        """Entries that no file has yet, oldest first, each with its place in the stream."""
        found = self._client.xrange(self._keys.stream, count=limit)
        places = cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
        return [(place.decode(), entry_of(fields[_ENTRY])) for place, fields in places]

    def sealed(self, until: str) -> None:
        """Everything up to this place is in a file."""
        milliseconds, _, number = until.partition("-")
        self._client.xtrim(self._keys.stream, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)

    def under_way(self) -> list[AuditEntry]:
        held = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.open))
        return sorted(map(entry_of, held.values()), key=lambda entry: entry.at)

    def give_up(self, entry: AuditEntry) -> None:
        """Enters what was begun and will not be told of any more."""
        self._scripts.run("audit_end", [self._keys.stream, self._keys.open], [entry.id, line_of(entry)])


class AuditDesk:
    """The same from an event loop, on the connection that look-ups share. It belongs to that loop."""

    def __init__(self, exchange: Exchange, keys: Keys) -> None:
        self._exchange = exchange
        self._names = (keys.audit.stream, keys.audit.open)
        self._begin, self._end = script_source("audit_begin"), script_source("audit_end")

    async def begin(self, entry: AuditEntry) -> None:
        """Writes down what is about to be done.

        Raises:
            Unavailable: `audit_unavailable`, too much waits for a file.
            what Redis raises: it cannot be written down.
        """
        (word,) = await self._ask(pack(self._beginning(entry)), 1)
        if word == b"full":
            raise Unavailable("audit_unavailable", f"{MOST_WAITING} entries of the audit log wait for a file")

    async def end(self, entry: AuditEntry) -> None:
        await self._ask(pack(self._ending(entry)), 1)

    async def enter(self, entry: AuditEntry) -> bool:
        """Something that was not begun; False where too much waits."""
        word, _ = await self._ask(pack(self._beginning(entry), self._ending(entry)), 2)
        return bool(word != b"full")

    async def _ask(self, packed: bytes, count: int) -> list[bytes]:
        answers = await self._exchange(packed, count, give_up_at=self._exchange.give_up_at())
        return cast("list[bytes]", answers)

    def _beginning(self, entry: AuditEntry) -> tuple[str | int | bytes, ...]:
        return ("EVAL", self._begin, 2, *self._names, entry.id, line_of(entry), MOST_WAITING)

    def _ending(self, entry: AuditEntry) -> tuple[str | int | bytes, ...]:
        return ("EVAL", self._end, 2, *self._names, entry.id, line_of(entry))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's number without a name
        return ""
