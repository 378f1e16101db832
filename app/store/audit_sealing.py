"""Moves entries of the audit log from Redis to files.

One process at a time; if two do all the same, both write the same lines: the entries come in the order of the
stream, and their numbers follow from the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import redis
from redis.exceptions import LockError
from redis.lock import Lock

from app.contracts import now
from app.contracts.audit import AuditEntry, Outcome, entry_of
from app.logs import get_logger
from app.store.audit import AuditDesk, AuditLog
from app.store.audit_files import AuditFiles, Head
from app.store.exchange import Exchange
from app.store.keys import Keys

ENTRIES_A_FILE = 10_000
GIVEN_UP = timedelta(days=1)
"""No request takes so long: what was begun before then is told of by nobody any more."""
TURN_SECONDS = 60
log = get_logger(__name__)


class AuditSealing:
    def __init__(self, client: redis.Redis, keys: Keys, log_: AuditLog, files: AuditFiles) -> None:
        self._client = client
        self._keys = keys.audit
        self._log = log_
        self._files = files

    def seal(self) -> int:
        """Writes what waits into a file; how many entries. 0, too, while another process does."""
        if not self._log.waiting(1):
            return 0
        with self._turn() as lock:
            return 0 if lock is None else self._seal(lock)

    def look_after(self, kept_for: timedelta) -> None:
        """Gives up what was begun by processes that died, joins small files, removes old ones."""
        with self._turn() as lock:
            if lock is None:
                return
            for entry in self._log.under_way():
                if now() - datetime.fromisoformat(entry.at) > GIVEN_UP:
                    self._log.give_up(msgspec.structs.replace(entry, outcome=Outcome.UNKNOWN))
            self._files.join()
            removed = self._files.retire(int((now() - kept_for).timestamp() * 1000))
            if removed:
                log.info("old files of the audit log were removed", files=removed)

    def noted_head(self) -> Head | None:
        """The head of the files as Redis remembers it."""
        raw = self._client.get(self._keys.head)
        if not isinstance(raw, bytes):
            return None
        seq, _, digest = raw.decode().partition(" ")
        return Head(int(seq), digest)

    def _seal(self, lock: Lock) -> int:
        waiting = self._log.waiting(ENTRIES_A_FILE)
        head = self._files.head()  # after the stream: what another process has sealed since is in it
        sealed = self._sealed_already(waiting, head)
        entries = [entry for _, entry in waiting if entry.id not in sealed]
        if not lock.owned():
            return 0
        if entries:
            segment = self._files.add(entries, head)
            self._client.set(self._keys.head, f"{segment.last} {segment.sha256}")
            log.info("audit log sealed", last=segment.last, sha256=segment.sha256)
        self._log.sealed(waiting[-1][0])
        return len(entries)

    def _sealed_already(self, waiting: list[tuple[str, AuditEntry]], head: Head) -> set[str]:
        """Ids in the newest file, whose writer may have died before it took them out of Redis."""
        segments = self._files.segments()
        if not segments or not waiting or head.seq != segments[-1].last:
            return set()
        return {entry_of(line).id for line in self._files.lines(segments[-1])}

    @contextmanager
    def _turn(self) -> Iterator[Lock | None]:
        lock = self._client.lock(self._keys.turn, timeout=TURN_SECONDS, blocking=False)
        if not lock.acquire():
            yield None
            return
        try:
            yield lock
        finally:
            with suppress(LockError):  # it took longer than a turn
                lock.release()


@dataclass(frozen=True)
class Audit:
    """The whole audit log, from its newest entries to its files. desk: it is closed with its exchange."""

    log: AuditLog
    desk: AuditDesk
    files: AuditFiles
    sealing: AuditSealing

    @classmethod
    def open(cls, client: redis.Redis, keys: Keys, exchange: Exchange, data_url: str) -> Audit:
        log_, files = AuditLog(client, keys), AuditFiles(data_url)
        return cls(log_, AuditDesk(exchange, keys), files, AuditSealing(client, keys, log_, files))
