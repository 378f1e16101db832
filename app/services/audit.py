"""The audit log for those who read it, and who looks after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from app.contracts.access import Principal
from app.contracts.audit import AuditEntry, entry_of, line_of
from app.settings import Settings
from app.store.audit_sealing import ENTRIES_A_FILE
from app.store.state import State

_FOREVER = 2**62
LINES_A_CHUNK = 500


@dataclass(frozen=True)
class AuditFilter:
    """action: a pattern, such as `job.*`. key: id or name."""

    since: datetime | None = None
    until: datetime | None = None
    dataset: str | None = None
    key: str | None = None
    action: str | None = None

    @property
    def since_ms(self) -> int:
        return 0 if self.since is None else _ms(self.since)

    @property
    def until_ms(self) -> int:
        return _FOREVER if self.until is None else _ms(self.until)

    def passes(self, entry: AuditEntry, caller: Principal) -> bool:
        return (
            self.since_ms <= _ms(datetime.fromisoformat(entry.at)) < self.until_ms
            and self.dataset in (None, entry.dataset)
            and self.key in (None, entry.key_id, entry.key_name)
            and (self.action is None or fnmatchcase(entry.action, self.action))
            and ("*" in caller.datasets or caller.reaches(entry.dataset))
        )


def export_audit(state: State, wanted: AuditFilter, caller: Principal) -> Iterator[bytes]:
    """NDJSON in the order of the entries; at the end those without a number, which no file has yet, and those
    under way. A caller who reaches only some datasets gets only their entries."""
    audit = state.audit
    under_way = audit.log.under_way()
    rest = {entry.id: entry for _, entry in audit.log.waiting(10 * ENTRIES_A_FILE)}
    for entry in under_way:
        rest.setdefault(entry.id, entry)
    held: list[bytes] = []
    for line in audit.files.read(wanted.since_ms, wanted.until_ms):
        entry = entry_of(line)
        rest.pop(entry.id, None)
        if wanted.passes(entry, caller):
            held.append(line)
        if len(held) == LINES_A_CHUNK:
            yield b"".join(line + b"\n" for line in held)
            held.clear()
    held += [line_of(entry) for entry in rest.values() if wanted.passes(entry, caller)]
    yield b"".join(line + b"\n" for line in held)


def seal_audit(state: State) -> None:
    """Moves what waits into files."""
    while state.audit.sealing.seal() == ENTRIES_A_FILE:
        pass


def look_after_audit(state: State, settings: Settings) -> None:
    state.audit.sealing.look_after(timedelta(days=settings.audit_days))


def audit_deed(state: State, action: str, *, subject: str = "", **counts: int) -> None:
    """Enters what somebody did at the command line, and writes it to a file at once."""
    state.audit.log.deed(action, subject=subject, **counts)
    seal_audit(state)


def audit_job_end(state: State, job_id: str) -> None:
    """Of a job that no worker ended: it waited, or its worker died."""
    job = state.jobs.get(job_id)
    if job.state.ended:
        state.audit.log.job_ended(job, state.jobs.origin(job_id))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
