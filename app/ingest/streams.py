"""Bodies of any length, cut into rows as they come in: NDJSON lines and CSV records."""

from __future__ import annotations

import codecs
import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.errors import Malformed
from app.ingest.rows import RowError, SampleRow, csv_records, row_from_csv, row_from_json

Decoded = Callable[[], SampleRow]
"""Decodes one row when called; raises RowError."""
Decoding = Callable[[], Any]
"""The same of a row of any kind."""


def sample_header(values: list[str]) -> list[str]:
    """The columns of a CSV of samples. Raises Malformed."""
    names = [value.strip() for value in values]
    missing = [name for name in ("id", "text") if name not in names]
    if missing:
        raise Malformed("invalid_csv", f"the header has no column {' and no column '.join(missing)}")
    if len(set(names)) != len(names):
        raise Malformed("invalid_csv", "the header names a column twice")
    return names


@dataclass(frozen=True)
class RowKind:
    """How rows of one kind are read; the default kind is a sample."""

    from_json: Callable[[bytes], Any] = row_from_json
    from_csv: Callable[[Sequence[str], Sequence[str]], Any] = row_from_csv
    header: Callable[[list[str]], list[str]] = sample_header


SAMPLES = RowKind()


class RowStream(ABC):
    """Fed with bytes, gives rows to decode. Memory is bounded by the longest row allowed."""

    def __init__(self, max_line_bytes: int, kind: RowKind = SAMPLES) -> None:
        self._max_line_bytes = max_line_bytes
        self._kind = kind

    @abstractmethod
    def feed(self, chunk: bytes) -> Iterator[Decoding]: ...

    @abstractmethod
    def finish(self) -> Iterator[Decoding]: ...


class NdjsonStream(RowStream):
    """A line that is too long is a row of its own that is wrong; it is not kept while it comes in."""

    def __init__(self, max_line_bytes: int, kind: RowKind = SAMPLES) -> None:
        super().__init__(max_line_bytes, kind)
        self._pending = b""
        self._pending_bytes = 0
        self._first = True

    def feed(self, chunk: bytes) -> Iterator[Decoding]:
        first, *others = chunk.split(b"\n")
        self._extend(first)
        for line in others:
            yield from self._row()
            self._extend(line)

    def finish(self) -> Iterator[Decoding]:
        yield from self._row()

    def _extend(self, part: bytes) -> None:
        self._pending_bytes += len(part)
        self._pending = self._pending + part if self._pending_bytes <= self._max_line_bytes else b""

    def _row(self) -> Iterator[Decoding]:
        line, length = self._pending, self._pending_bytes
        self._pending, self._pending_bytes = b"", 0
        if self._first:
            line, self._first = line.removeprefix(codecs.BOM_UTF8), False
        if length > self._max_line_bytes:
            yield _too_long(self._max_line_bytes)
        elif line.strip():
            yield partial(self._kind.from_json, line)


class CsvStream(RowStream):
    """RFC 4180: a record ends at a line end outside a quoted cell; quotes within an unquoted one are text."""

    def __init__(self, max_line_bytes: int, kind: RowKind = SAMPLES) -> None:
        super().__init__(max_line_bytes, kind)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._tail = ""
        self._record: list[str] = []
        self._record_chars = 0
        self._open_quote = False
        self._header: list[str] | None = None

    def feed(self, chunk: bytes) -> Iterator[Decoding]:
        yield from self._text(chunk, final=False)

    def finish(self) -> Iterator[Decoding]:
        yield from self._text(b"", final=True)
        if self._tail:
            yield from self._line(self._tail)
        if self._open_quote:
            raise Malformed("invalid_csv", "the file ends inside a quoted cell")

    def _text(self, chunk: bytes, *, final: bool) -> Iterator[Decoding]:
        try:
            text = self._tail + self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise Malformed("invalid_csv", f"the file is not UTF-8: {error.reason}") from error
        *lines, self._tail = text.split("\n")
        if len(self._tail) + self._record_chars > self._max_line_bytes:
            raise Malformed("invalid_csv", f"a record is longer than {self._max_line_bytes} bytes")
        for line in lines:
            yield from self._line(line + "\n")

    def _line(self, line: str) -> Iterator[Decoding]:
        self._record.append(line)
        self._record_chars += len(line)
        self._open_quote = ends_in_quotes(line, self._open_quote)
        if self._record_chars > self._max_line_bytes:
            raise Malformed("invalid_csv", f"a record is longer than {self._max_line_bytes} bytes")
        if self._open_quote:
            return
        lines, self._record, self._record_chars = self._record, [], 0
        if any(line.strip() for line in lines):
            yield from self._cells(lines)

    def _cells(self, lines: list[str]) -> Iterator[Decoding]:
        try:
            records = csv_records(lines)
        except csv.Error as error:
            if self._header is None:
                raise Malformed("invalid_csv", f"the header cannot be read: {error}") from error
            yield _raising(RowError("invalid_row", f"the record cannot be read: {error}"))
            return
        for values in records:
            if self._header is None:
                self._header = self._kind.header(values)
                continue
            yield partial(self._kind.from_csv, self._header, values)


def ends_in_quotes(line: str, in_quotes: bool) -> bool:
    """Whether a quoted cell is still open at the end of the line.

    Args:
        line: a line of CSV.
        in_quotes: whether it begins inside a quoted cell.
    """
    if '"' not in line:
        return in_quotes
    at = 0
    while True:
        if not in_quotes and line.startswith('"', at):
            in_quotes, at = True, at + 1
        if in_quotes:
            at = line.find('"', at) + 1
            if at == 0:
                return True
            if line.startswith('"', at):  # two of them are one that is text
                at += 1
                continue
            in_quotes = False
        at = line.find(",", at) + 1
        if at == 0:
            return False


def _raising(error: RowError) -> Decoding:
    def decode() -> Any:
        raise error

    return decode


def _too_long(limit: int) -> Decoding:
    return _raising(RowError("invalid_row", f"the line is longer than {limit} bytes"))
