"""Bodies of any length, cut into rows as they come in: NDJSON lines and CSV records."""

from __future__ import annotations

import codecs
import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from app.errors import Malformed
from app.ingest.packing import Unpacker
from app.ingest.rows import RowError

csv.field_size_limit(2**31 - 1)  # a process-wide 128 KiB otherwise; records have a limit of their own
R_co = TypeVar("R_co", covariant=True)


class RowReader(Protocol[R_co]):
    """Makes rows of one kind; `number` is the row's place in the file, from 1. Raises RowError."""

    def missing(self, present: Sequence[str]) -> list[str]:
        """The columns that a file must have and does not."""

    def used(self, present: Sequence[str]) -> list[str]:
        """The columns that rows are made of."""

    def from_json(self, raw: bytes, number: int) -> R_co: ...

    def from_cells(self, cells: Mapping[str, Any], number: int) -> R_co: ...


class RowStream(ABC, Generic[R_co]):
    """Fed with bytes, gives rows to decode: each raises RowError, or is the row, when called.

    Memory is bounded by the longest row allowed.
    """

    fed_bytes: int = 0
    """What has come in so far, unpacked; of a file that is read as a whole at its end: nothing."""

    @abstractmethod
    def feed(self, chunk: bytes) -> Iterator[Callable[[], R_co]]: ...

    @abstractmethod
    def finish(self) -> Iterator[Callable[[], R_co]]: ...

    def close(self) -> None:  # most hold nothing open
        """To be called at the end, also of a stream that broke off: nothing stays open."""


class PackedStream(RowStream[R_co]):
    """A stream whose bytes come packed."""

    def __init__(self, rows: RowStream[R_co], unpacker: Unpacker) -> None:
        self._rows = rows
        self._unpacker = unpacker

    def feed(self, chunk: bytes) -> Iterator[Callable[[], R_co]]:
        for part in self._unpacker.feed(chunk):
            yield from self._rows.feed(part)
            self.fed_bytes = self._rows.fed_bytes

    def finish(self) -> Iterator[Callable[[], R_co]]:
        self._unpacker.finish()
        yield from self._rows.finish()

    def close(self) -> None:
        self._rows.close()


class NdjsonStream(RowStream[R_co]):
    """A line that is too long is a row of its own that is wrong; it is not kept while it comes in."""

    def __init__(self, reader: RowReader[R_co], max_line_bytes: int) -> None:
        self._reader = reader
        self._max_line_bytes = max_line_bytes
        self._pending = b""
        self._pending_bytes = 0
        self._rows = 0

    def feed(self, chunk: bytes) -> Iterator[Callable[[], R_co]]:
        self.fed_bytes += len(chunk)
        first, *others = chunk.split(b"\n")
        self._extend(first)
        if not others:
            return
        yield from self._pending_row()
        last = others.pop()
        for line in others:
            if line and not line.isspace():
                yield self._row(line, len(line))
        self._extend(last)

    def finish(self) -> Iterator[Callable[[], R_co]]:
        yield from self._pending_row()

    def _extend(self, part: bytes) -> None:
        self._pending_bytes += len(part)
        self._pending = self._pending + part if self._pending_bytes <= self._max_line_bytes else b""

    def _pending_row(self) -> Iterator[Callable[[], R_co]]:
        line, length = self._pending, self._pending_bytes
        self._pending, self._pending_bytes = b"", 0
        if not self._rows:
            line = line.removeprefix(codecs.BOM_UTF8)
        if length > self._max_line_bytes or (line and not line.isspace()):
            yield self._row(line, length)

    def _row(self, line: bytes, length: int) -> Callable[[], R_co]:
        self._rows += 1
        if length > self._max_line_bytes:
            return _raising(RowError("invalid_row", f"the line is longer than {self._max_line_bytes} bytes"))
        return partial(self._reader.from_json, line, self._rows)


class CsvStream(RowStream[R_co]):
    """RFC 4180: a record ends at a line end outside a quoted cell; quotes within an unquoted one are text."""

    def __init__(self, reader: RowReader[R_co], max_line_bytes: int, delimiter: str = ",") -> None:
        self._reader = reader
        self._max_line_bytes = max_line_bytes
        self._delimiter = delimiter
        self._rows = 0
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._tail = ""
        self._record: list[str] = []
        self._record_chars = 0
        self._open_quote = False
        self._header: list[str] | None = None

    def feed(self, chunk: bytes) -> Iterator[Callable[[], R_co]]:
        self.fed_bytes += len(chunk)
        yield from self._text(chunk, final=False)

    def finish(self) -> Iterator[Callable[[], R_co]]:
        yield from self._text(b"", final=True)
        if self._tail:
            yield from self._line(self._tail)
        if self._open_quote:
            raise Malformed("invalid_csv", "the file ends inside a quoted cell")

    def _text(self, chunk: bytes, *, final: bool) -> Iterator[Callable[[], R_co]]:
        try:
            text = self._tail + self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise Malformed("invalid_csv", f"the file is not UTF-8: {error.reason}") from error
        *lines, self._tail = text.split("\n")
        if len(self._tail) + self._record_chars > self._max_line_bytes:
            raise Malformed("invalid_csv", f"a record is longer than {self._max_line_bytes} bytes")
        for line in lines:
            yield from self._line(line + "\n")

    def _line(self, line: str) -> Iterator[Callable[[], R_co]]:
        self._record.append(line)
        self._record_chars += len(line)
        self._open_quote = ends_in_quotes(line, self._open_quote, self._delimiter)
        if self._record_chars > self._max_line_bytes:
            raise Malformed("invalid_csv", f"a record is longer than {self._max_line_bytes} bytes")
        if self._open_quote:
            return
        lines, self._record, self._record_chars = self._record, [], 0
        if any(line.strip() for line in lines):
            yield from self._cells(lines)

    def _cells(self, lines: list[str]) -> Iterator[Callable[[], R_co]]:
        try:
            records = list(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            if self._header is None:
                raise Malformed("invalid_csv", f"the header cannot be read: {error}") from error
            self._rows += 1
            yield _raising(RowError("invalid_row", f"the record cannot be read: {error}"))
            return
        for values in records:
            if self._header is None:
                self._header = self._checked_header(values)
                continue
            self._rows += 1
            yield partial(self._row, values, self._rows)

    def _row(self, values: list[str], number: int) -> R_co:
        header = self._header or []
        if len(values) != len(header):
            raise RowError("invalid_row", f"the row has {len(values)} cells, the header {len(header)}")
        return self._reader.from_cells(dict(zip(header, values, strict=True)), number)

    def _checked_header(self, values: list[str]) -> list[str]:
        names = [value.strip() for value in values]
        missing = self._reader.missing(names)
        if missing:
            raise Malformed("invalid_csv", f"the header has no column {' and no column '.join(missing)}")
        if len(set(names)) != len(names):
            raise Malformed("invalid_csv", "the header names a column twice")
        return names


def ends_in_quotes(line: str, in_quotes: bool, delimiter: str = ",") -> bool:
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
        at = line.find(delimiter, at) + 1
        if at == 0:
            return False


def _raising(error: RowError) -> Callable[[], Any]:
    def decode() -> Any:
        raise error

    return decode
