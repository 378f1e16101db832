"""CSV and NDJSON files cut into pieces that the service takes as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

from app.cli.row_formats import MAX_CELL_CHARS, unpacked
from app.cli.rows import FORMATS, PACKED
from app.errors import GradSiftError, Malformed

PIECE_ROWS = 10_000
T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, the first of which has this number, from 1."""

    first: int
    media_type: str
    body: bytes


@dataclass
class PieceFile:
    """A file that is read as a stream; `bytes_read` says how far, for a progress bar.

    Raises:
        GradSiftError: `unreadable_file`.
        Malformed: `invalid_csv`, with the line.
    """

    path: Path

    def __enter__(self) -> Self:
        try:
            self._raw: IO[bytes] = self.path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error
        self.size = self.path.stat().st_size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    @property
    def bytes_read(self) -> int:
        return self._raw.tell()

    def pieces(self) -> Iterator[Piece]:
        packing = PACKED.get(self.path.suffix)
        plain = self.path if packing is None else self.path.with_suffix("")
        text = io.TextIOWrapper(unpacked(self._raw, packing), encoding="utf-8-sig", newline="")
        cut = self._ndjson if FORMATS.get(plain.suffix) == "ndjson" else self._csv
        try:
            yield from cut(text)
        except (UnicodeDecodeError, OSError, EOFError) as error:
            raise self._unreadable(error) from error
        finally:
            text.detach()

    def _csv(self, text: io.TextIOWrapper) -> Iterator[Piece]:
        csv.field_size_limit(MAX_CELL_CHARS)
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            rows = (row for row in reader if row)
            for number, some in _numbered(rows):
                body = io.StringIO()
                csv.writer(body).writerows([header, *some])
                yield Piece(number, "text/csv", body.getvalue().encode())
        except csv.Error as error:
            raise Malformed("invalid_csv", f"{self.path}, line {reader.line_num}: {error}") from error

    def _ndjson(self, text: io.TextIOWrapper) -> Iterator[Piece]:
        lines = (line for line in text if line.strip())
        for number, some in _numbered(lines):
            body = "".join(line if line.endswith("\n") else f"{line}\n" for line in some)
            yield Piece(number, "application/x-ndjson", body.encode())

    def _unreadable(self, error: Exception) -> GradSiftError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return GradSiftError(
            "unreadable_file",
            f"cannot read {self.path}: {reason}",
            remedy="Name a CSV or NDJSON file in UTF-8, plain or packed (.gz, .zst).",
        )


def _numbered(rows: Iterator[T]) -> Iterator[tuple[int, list[T]]]:
    number = 1
    while some := list(islice(rows, PIECE_ROWS)):
        yield number, some
        number += len(some)


@contextmanager
def progress(file: PieceFile) -> Iterator[Callable[[int], None]]:
    """A bar over the file's bytes, in a terminal; gives the function that moves it on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("sending"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}% {task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        bar = shown.add_task("", total=file.size or 1, rows=0)
        yield lambda rows: shown.update(bar, completed=file.bytes_read, rows=rows)
