"""The audit log: every file as it was written, none gone."""

from __future__ import annotations

from collections.abc import Iterator

from app.services.verify.findings import Finding
from app.store.state import State


def check_audit(state: State) -> Iterator[Finding]:
    """The chain of hashes, and its end as Redis remembers it: files do not tell that the newest are gone."""
    noted = state.audit.sealing.noted_head()
    for file, fault in state.audit.files.check():
        yield Finding("audit", f"audit/{file}: {fault}")
    head = state.audit.files.head()
    if noted is not None and noted.seq > head.seq:
        yield Finding("audit", f"entries {head.seq + 1} to {noted.seq} of the audit log are gone")
    elif noted is not None and noted.seq == head.seq and noted != head:
        yield Finding("audit", f"entry {head.seq} of the audit log is not the one that was written")
