"""One entry of the audit log: who did what to which dataset and job, and what came of it."""

from __future__ import annotations

import json
from enum import StrEnum

import msgspec

LONGEST_TEXT = 200


class Outcome(StrEnum):
    """`open`: under way; `unknown`: it was begun, and its process died before it said what came of it."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    OPEN = "open"
    UNKNOWN = "unknown"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """at: RFC 3339. client: address. subject: the key that was made or revoked. sample: id in the path.
    state: of a job that ended. ms: how long it took. left_out: refusals before this one that came too fast
    to be entered one by one.

    Texts that clients choose (ids, names) are cut at 200 characters.
    """

    id: str
    at: str
    action: str
    outcome: Outcome
    request_id: str = ""
    key_id: str = ""
    key_name: str = ""
    client: str = ""
    dataset: str = ""
    job: str = ""
    kind: str = ""
    sample: str = ""
    state: str = ""
    status: int = 0
    code: str = ""
    counts: dict[str, int] = {}
    subject: str = ""
    ms: float = 0.0
    left_out: int = 0


def line_of(entry: AuditEntry, **before: object) -> bytes:
    """Pure ASCII: no text of a client can begin a line of its own, or turn one around on a screen."""
    fields = {**before, **msgspec.to_builtins(entry)}
    short = {name: _cut(value) for name, value in fields.items()}
    return json.dumps(short, ensure_ascii=True, separators=(",", ":")).encode()


def entry_of(line: bytes) -> AuditEntry:
    return msgspec.json.decode(line, type=AuditEntry)


def _cut(value: object) -> object:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value
