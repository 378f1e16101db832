"""The audit log for good: files `<data url>/audit/<first>-<last>-<from>-<to>-<sha256>.ndjson.zst`.

Each line is an entry with its number (`seq`) and the SHA-256 of the line before (`prev`); a file's name says
which numbers it has, from when to when (ms), and the SHA-256 of its last line. Files never change. Small ones
that follow each other are joined into one, whose lines are the same; where both are there still, the longer
one counts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from app.contracts.audit import AuditEntry, line_of
from app.errors import Damaged, Unavailable
from app.store.artifacts import Folder
from app.store.locations import join_location

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, compress, decompress
else:
    from backports.zstd import ZstdError, compress, decompress

GENESIS = "0" * 64
RETIRED = "retired.json"
SMALL = 4_096
JOINED_FROM = 64
_NAME = re.compile(r"(\d{12})-(\d{12})-(\d+)-(\d+)-([0-9a-f]{64})\.ndjson\.zst")


class Head(NamedTuple):
    """The last entry of a chain: its number, and the SHA-256 of its line."""

    seq: int
    sha256: str


@dataclass(frozen=True, order=True)
class Segment:
    first: int
    last: int
    from_ms: int
    to_ms: int
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.first:012}-{self.last:012}-{self.from_ms}-{self.to_ms}-{self.sha256}.ndjson.zst"

    @classmethod
    def of(cls, name: str) -> Segment | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        first, last, from_ms, to_ms = map(int, found.groups()[:4])
        return cls(first, last, from_ms, to_ms, found[5])


class _Chained(msgspec.Struct):
    seq: int
    prev: str


class AuditFiles:
    def __init__(self, data_url: str) -> None:
        self.folder = Folder(join_location(data_url, "audit"))

    # -- writing ---------------------------------------------------------------------------------------
    def add(self, entries: Sequence[AuditEntry], after: Head) -> Segment:
        """Writes one more file. The same entries after the same head make the same file."""
        lines: list[bytes] = []
        seq, prev = after
        for entry in entries:
            seq += 1
            lines.append(line_of(entry, seq=seq, prev=prev))
            prev = sha256(lines[-1]).hexdigest()
        times = [int(datetime.fromisoformat(entry.at).timestamp() * 1000) for entry in entries]
        return self._write(Segment(after.seq + 1, seq, min(times), max(times), prev), lines)

    def join(self) -> Segment | None:
        """Makes one file of the small ones at the end, once there are many."""
        segments = self.segments()
        small: list[Segment] = []
        for segment in reversed(segments):
            if segment.last - segment.first >= SMALL:
                break
            small.insert(0, segment)
        if len(small) < JOINED_FROM:
            return None
        lines = [line for segment in small for line in self.lines(segment)]
        times = min(one.from_ms for one in small), max(one.to_ms for one in small)
        joined = self._write(Segment(small[0].first, small[-1].last, *times, small[-1].sha256), lines)
        for segment in small:
            self.folder.remove(segment.name)
        return joined

    def retire(self, before_ms: int) -> int:
        """Removes files whose last entry is older; how many. What was the last of them stays known."""
        old = []
        for segment in self.segments():
            if segment.to_ms >= before_ms:
                break
            old.append(segment)
        if old:
            note = {"seq": old[-1].last, "sha256": old[-1].sha256}
            self.folder.write(RETIRED, msgspec.json.encode(note))
        for segment in old:
            self.folder.remove(segment.name)
        return len(old)

    def _write(self, segment: Segment, lines: Sequence[bytes]) -> Segment:
        try:
            self.folder.write(segment.name, compress(b"".join(line + b"\n" for line in lines)))
        except OSError as error:
            raise Unavailable("audit_unavailable", f"the audit log cannot be written: {error}") from error
        return segment

    # -- reading ---------------------------------------------------------------------------------------
    def segments(self) -> list[Segment]:
        """Those that count, in order: of several that begin with the same entry, the longest."""
        found = [one for one in map(Segment.of, self.folder.names()) if one is not None]
        kept: list[Segment] = []
        for segment in sorted(found, key=lambda one: (one.first, -one.last)):
            if not kept or segment.last > kept[-1].last:
                kept.append(segment)
        return kept

    def head(self) -> Head:
        segments = self.segments()
        return Head(segments[-1].last, segments[-1].sha256) if segments else self.retired()

    def retired(self) -> Head:
        """The last entry that was removed because of its age."""
        content = self.folder.read(RETIRED)
        try:
            return Head(0, GENESIS) if content is None else msgspec.json.decode(content, type=_Note).head()
        except msgspec.DecodeError as error:
            raise Damaged("damaged_file", f"audit/{RETIRED} cannot be read: {error}") from error

    def lines(self, segment: Segment) -> list[bytes]:
        """Raises Damaged; FileNotFoundError where it was joined with others meanwhile."""
        content = self.folder.read(segment.name)
        if content is None:
            raise FileNotFoundError(segment.name)
        try:
            return decompress(content).splitlines()
        except ZstdError as error:
            raise Damaged("damaged_file", f"audit/{segment.name} cannot be read: {error}") from error

    def read(self, since_ms: int, until_ms: int) -> Iterator[bytes]:
        """Lines of the files that may have entries of that time, in order, each once."""
        done = 0
        for _ in range(1000):  # files are joined meanwhile at most now and then
            try:
                for segment in self.segments():
                    outside = segment.to_ms < since_ms or segment.from_ms >= until_ms
                    if segment.last <= done or outside:
                        continue
                    for line in self.lines(segment):
                        seq = msgspec.json.decode(line, type=_Chained).seq
                        if seq > done:
                            yield line
                            done = seq
            except FileNotFoundError:
                continue
            return

    # -- checking --------------------------------------------------------------------------------------
    def check(self) -> list[tuple[str, str]]:
        """What is wrong with the chain: the file, and what."""
        while True:
            try:
                return list(self._faults())
            except FileNotFoundError:  # joined with others meanwhile, or too old by now
                continue

    def _faults(self) -> Iterator[tuple[str, str]]:
        at = self.retired()
        for segment in self.segments():
            if segment.first > at.seq + 1:
                yield segment.name, f"entries {at.seq + 1} to {segment.first - 1} before it are gone"
                at = Head(segment.first - 1, "")
            try:
                fault = _fault(self.lines(segment), segment, at)
            except Damaged as error:
                fault = error.detail
            if fault:
                yield segment.name, fault
            at = Head(segment.last, segment.sha256)


class _Note(msgspec.Struct):
    seq: int
    sha256: str

    def head(self) -> Head:
        return Head(self.seq, self.sha256)


def _fault(lines: Sequence[bytes], segment: Segment, at: Head) -> str:
    """What is wrong with a file whose first entry follows `at`; empty where nothing is. An overlap with the
    file before it counts from where that ends."""
    seq, prev = segment.first - 1, ""
    for line in lines:
        try:
            held = msgspec.json.decode(line, type=_Chained)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return f"the entry after {seq} cannot be read"
        if held.seq != seq + 1:
            return f"entry {seq + 1} is gone"
        if held.seq == at.seq + 1:
            prev = at.sha256 or held.prev
        if prev and held.prev != prev:
            return f"entry {seq} is not the one that was written before entry {held.seq}"
        seq, prev = held.seq, sha256(line).hexdigest()
    if seq != segment.last or prev != segment.sha256:
        return f"its last entry is not the one that was written as entry {segment.last}"
    return ""
