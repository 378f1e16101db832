"""The files of the audit log: a chain in which nothing can be changed, left out or put in unnoticed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from app.contracts import now
from app.contracts.audit import AuditEntry, Outcome, entry_of, line_of
from app.contracts.base import rfc3339
from app.services.audit import seal_audit
from app.services.verify import verify
from app.store import audit_sealing
from app.store.audit_files import GENESIS, JOINED_FROM, AuditFiles, Head, compress, decompress
from app.store.state import State


def entry(number: int, **fields: object) -> AuditEntry:
    at = rfc3339(now() + timedelta(seconds=number))
    return AuditEntry(id=f"e{number}", at=at, action="samples.write", outcome=Outcome.DONE, **fields)  # type: ignore[arg-type]


def written(tmp_path: Path, files: int, entries: int = 3) -> AuditFiles:
    held = AuditFiles(str(tmp_path))
    for file in range(files):
        held.add([entry(file * entries + i) for i in range(entries)], held.head())
    return held


def ids(held: AuditFiles, since_ms: int = 0, until_ms: int = 2**62) -> list[str]:
    return [entry_of(line).id for line in held.read(since_ms, until_ms)]


def rewrite(held: AuditFiles, at: int, change: object) -> None:
    """Puts other lines into a file, under its own name."""
    segment = held.segments()[at]
    lines = change([json.loads(line) for line in held.lines(segment)])  # type: ignore[operator]
    content = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    held.folder.write(segment.name, compress(content))


def test_entries_come_back_in_order_and_chained(tmp_path: Path) -> None:
    held = written(tmp_path, 3)
    assert ids(held) == [f"e{i}" for i in range(9)]
    lines = [json.loads(line) for line in held.read(0, 2**62)]
    assert [line["seq"] for line in lines] == list(range(1, 10))
    assert lines[0]["prev"] == GENESIS
    assert held.head().seq == 9
    assert list(held.check()) == []


def test_files_are_read_by_hand(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (file,) = (tmp_path / "audit").iterdir()
    assert [json.loads(line)["id"] for line in decompress(file.read_bytes()).splitlines()] == [
        "e0",
        "e1",
        "e2",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [{**lines[0], "dataset": "other"}, *lines[1:]],
        lambda lines: [*lines[:-1], {**lines[-1], "outcome": "refused"}],
        lambda lines: lines[1:],
        lambda lines: lines[:-1],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [*lines, {**lines[-1], "seq": lines[-1]["seq"] + 1}],
        lambda lines: [],
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_changed_file_is_found(tmp_path: Path, change: object, at: int) -> None:
    held = written(tmp_path, 3)
    rewrite(held, at, change)
    assert held.segments()[at].name in {file for file, _ in held.check()}


def test_a_file_that_is_gone_or_broken_is_found(tmp_path: Path) -> None:
    held = written(tmp_path, 4)
    first, second, third, _ = held.segments()
    held.folder.remove(second.name)
    assert [(file, what) for file, what in held.check()] == [
        (third.name, "entries 4 to 6 before it are gone")
    ]
    held.folder.write(third.name, b"not packed")
    assert {file for file, _ in held.check()} >= {third.name}
    held.folder.remove(first.name)
    assert any("entries 1 to" in what for _, what in held.check())


def test_small_files_are_joined_into_the_same_lines(tmp_path: Path) -> None:
    held = written(tmp_path, JOINED_FROM - 1)
    assert held.join() is None
    held.add([entry(999)], held.head())
    before = list(held.read(0, 2**62))
    joined = held.join()
    assert [segment.name for segment in held.segments()] == [joined.name if joined else ""]
    assert list(held.read(0, 2**62)) == before
    assert list(held.check()) == []
    held.add([entry(1000)], held.head())
    assert list(held.check()) == []


def test_pieces_that_a_dying_process_left_beside_the_joined_file_do_not_count(tmp_path: Path) -> None:
    held = written(tmp_path, JOINED_FROM)
    pieces = {name: held.folder.read(name) or b"" for name in held.folder.names()}
    before = list(held.read(0, 2**62))
    held.join()
    for name in list(pieces)[5:9]:
        held.folder.write(name, pieces[name])
    assert list(held.read(0, 2**62)) == before
    assert list(held.check()) == []


def test_two_who_write_the_same_entries_make_one_chain(tmp_path: Path) -> None:
    """One of them saw more entries wait; the shorter file does not count."""
    held = written(tmp_path, 1)
    head, more = held.head(), [entry(number) for number in range(10, 15)]
    held.add(more, head)
    held.add(more[:3], head)
    assert ids(held)[3:] == ["e10", "e11", "e12", "e13", "e14"]
    assert list(held.check()) == []


def test_old_files_go_and_the_chain_still_holds(tmp_path: Path) -> None:
    held = written(tmp_path, 4)
    segments = held.segments()
    assert held.retire(segments[1].to_ms + 1) == 2
    assert held.retired() == Head(6, segments[1].sha256)
    assert ids(held) == [f"e{i}" for i in range(6, 12)]
    assert list(held.check()) == []
    held.folder.remove(segments[2].name)
    assert list(held.check()) != []
    held.retire(2**62)
    assert held.head() == Head(12, segments[3].sha256)
    held.add([entry(50)], held.head())
    assert list(held.check()) == []


def test_only_files_of_that_time_are_read(tmp_path: Path) -> None:
    held = written(tmp_path, 4)
    segments = held.segments()
    held.folder.write(segments[0].name, b"not packed")
    assert ids(held, since_ms=segments[1].from_ms)[0] == "e3"
    assert ids(held, since_ms=segments[1].from_ms, until_ms=segments[2].from_ms)[-1] == "e5"


@pytest.mark.parametrize(
    "text", ["a\nb", 'a"}\n{"seq":1', "\u2028\u2029", "\x1b[2J", "\u202egpj", "名", "\x85", "x" * 999]
)
def test_no_text_begins_a_line_of_its_own(text: str) -> None:
    line = line_of(entry(1, sample=text))
    assert line.isascii()
    assert line.decode().isprintable()
    assert entry_of(line).sample == text[:200]


# -- from Redis to files -----------------------------------------------------------------------------------
def test_what_waits_is_sealed_once(state: State) -> None:
    audit = state.audit
    for number in range(5):
        audit.log.append(entry(number))
    seal_audit(state)
    assert ids(audit.files) == [f"e{i}" for i in range(5)]
    assert audit.log.waiting(10) == []
    assert audit.sealing.noted_head() == audit.files.head()
    seal_audit(state)
    assert len(audit.files.segments()) == 1


def test_who_dies_between_the_file_and_redis_leaves_no_entry_twice(state: State) -> None:
    audit = state.audit
    for number in range(3):
        audit.log.append(entry(number))
    audit.files.add([one for _, one in audit.log.waiting(10)], audit.files.head())  # and dies
    audit.log.append(entry(7))
    seal_audit(state)
    assert ids(audit.files) == ["e0", "e1", "e2", "e7"]
    assert list(verify(state, [], lambda _: None)) == []


def test_a_lost_redis_loses_no_file_and_the_chain_goes_on(state: State) -> None:
    audit = state.audit
    audit.log.append(entry(1))
    seal_audit(state)
    state.client.delete(*state.keys.audit.all)
    audit.log.append(entry(2))
    seal_audit(state)
    assert ids(audit.files) == ["e1", "e2"]
    assert list(verify(state, [], lambda _: None)) == []


def test_verify_misses_the_newest_file(state: State) -> None:
    audit = state.audit
    for number in range(2):
        audit.log.append(entry(number))
        seal_audit(state)
    audit.files.folder.remove(audit.files.segments()[-1].name)
    (found,) = verify(state, [], lambda _: None)
    assert (found.check, found.detail) == ("audit", "entries 2 to 2 of the audit log are gone")


def test_one_process_seals_at_a_time(state: State) -> None:
    state.audit.log.append(entry(1))
    with state.audit.sealing._turn() as mine:
        assert mine is not None
        assert state.audit.sealing.seal() == 0
    assert state.audit.sealing.seal() == 1


def test_what_was_begun_a_day_ago_is_entered_as_unknown(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = AuditEntry(id="e1", at=rfc3339(now()), action="dataset.delete", outcome=Outcome.OPEN)
    state.client.hset(state.keys.audit.open, "e1", line_of(open_))
    state.audit.sealing.look_after(timedelta(days=365))
    assert state.audit.log.waiting(10) == []
    monkeypatch.setattr(audit_sealing, "GIVEN_UP", timedelta(0))
    state.audit.sealing.look_after(timedelta(days=365))
    ((_, entered),) = state.audit.log.waiting(10)
    assert (entered.id, entered.outcome) == ("e1", Outcome.UNKNOWN)
    assert state.audit.log.under_way() == []
