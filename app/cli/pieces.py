"""CSV and NDJSON files cut into pieces that the service takes as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from app.cli.opened import OpenedFile
from app.cli.row_formats import MAX_CELL_CHARS, unpacked
from app.cli.rows import FORMATS, PACKED
from app.errors import Malformed

PIECE_ROWS = 10_000
T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, the first of which has this number, from 1."""

    first: int
    media_type: str
    body: bytes


class PieceFile(OpenedFile):
    """A file that is read as a stream, in constant memory.

    Raises:
        GradSiftError: `unreadable_file`.
        Malformed: `invalid_csv`, with the line.
    """

    def pieces(self) -> Iterator[Piece]:
        packing = PACKED.get(self.path.suffix)
        plain = self.path if packing is None else self.path.with_suffix("")
        text = io.TextIOWrapper(unpacked(self._raw, packing), encoding="utf-8-sig", newline="")
        cut = self._ndjson if FORMATS.get(plain.suffix) == "ndjson" else self._csv
        try:
            yield from cut(text)
        except (UnicodeDecodeError, OSError, EOFError) as error:
            raise self.unreadable(error) from error
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


def _numbered(rows: Iterator[T]) -> Iterator[tuple[int, list[T]]]:
    number = 1
    while some := list(islice(rows, PIECE_ROWS)):
        yield number, some
        number += len(some)
