"""Reads files of samples row by row, under the contract's names."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from app.cli import row_formats
from app.cli.opened import OpenedFile
from app.errors import Malformed

PACKED = {".gz": "gzip", ".zst": "zstd"}
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".parquet": "parquet",
}
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Columns:
    """Which column of the file holds what; None: the file has no such column. `meta`: columns that are kept
    with the sample under their own names."""

    text: str
    label: str | None = None
    id: str | None = None
    text_pair: str | None = None
    group: str | None = None
    split: str | None = None
    meta: tuple[str, ...] = ()

    def named(self) -> dict[str, str]:
        """The contract's name → the file's."""
        return {name: column for name, column in vars(self).items() if column is not None and name != "meta"}

    def wanted(self) -> list[str]:
        """Every column that is read, once."""
        return list(dict.fromkeys([*self.named().values(), *self.meta]))


class FileRow(NamedTuple):
    """A row, from 1, under the contract's names; or why it cannot even be sent."""

    number: int
    fields: dict[str, Any]
    problem: str | None = None


@dataclass
class SampleFile(OpenedFile):
    """A file that is read as a stream, in constant memory.

    Raises:
        GradSiftError: `unreadable_file`.
        Malformed: `invalid_csv` or `missing_column`, with the line.
    """

    columns: Columns
    graded: bool = False
    """Labels of a CSV are numbers (relevance grades)."""

    def __post_init__(self) -> None:
        self._share: float | None = None

    @property
    def share_read(self) -> float:
        return super().share_read if self._share is None else self._share

    def rows(self) -> Iterator[FileRow]:
        try:
            with ExitStack() as opened:
                for number, found in self._found(opened):
                    yield self._row(number, found)
            self._share = 1.0
        except (UnicodeDecodeError, OSError, EOFError) as error:
            raise self.unreadable(error) from error

    def _found(self, opened: ExitStack) -> Iterator[tuple[int, row_formats.Found]]:
        packed = PACKED.get(self.path.suffix)
        stream = row_formats.unpacked(self._raw, packed)
        name = self.path.with_suffix("").name if packed else self.path.name
        kind = FORMATS.get(Path(name).suffix)
        if kind is None:
            buffered = io.BufferedReader(cast("io.RawIOBase", stream))
            opened.callback(buffered.detach)
            stream, kind = buffered, _guessed(buffered.peek(4096))
        if kind == "parquet":
            yield from self._parquet(packed)
            return
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        opened.callback(text.detach)
        if kind == "ndjson":
            yield from row_formats.ndjson_rows(text)
        else:
            delimiter = "\t" if kind == "tsv" else ","
            yield from row_formats.csv_rows(text, delimiter, str(self.path), self._check_header)

    def _parquet(self, packed: str | None) -> Iterator[tuple[int, row_formats.Found]]:
        if packed:
            raise Malformed(
                "unreadable_file",
                f"{self.path} is Parquet inside {packed}, which cannot be read as a stream",
                remedy="Name the Parquet file itself; its columns are packed already.",
            )
        for number, found, share in row_formats.parquet_rows(
            self._raw, self.columns.wanted(), self._check_header
        ):
            self._share = share
            yield number, found

    def _row(self, number: int, found: row_formats.Found) -> FileRow:
        if isinstance(found, str):
            return FileRow(number, {}, found)
        named = self.columns.named().items()
        fields = {name: found[column] for name, column in named if found.get(column) is not None}
        meta = {column: found[column] for column in self.columns.meta if found.get(column) is not None}
        if meta:
            fields["meta"] = meta
        if type(fields.get("id")) is int:
            fields["id"] = str(fields["id"])
        fields.setdefault("id", f"row-{number:06d}")
        if self.graded and isinstance(fields.get("label"), str):
            fields["label"] = _number(fields["label"])
        return FileRow(number, fields)

    def _check_header(self, header: list[str]) -> None:
        missing = [column for column in self.columns.wanted() if column not in header]
        if missing:
            raise Malformed(
                "missing_column",
                f"{self.path} has no column {' and no column '.join(map(repr, missing))}",
                remedy=f"Its columns are: {', '.join(header) or 'none'}.",
            )


def _guessed(head: bytes) -> str:
    """What a file is whose name does not say it, by how it begins."""
    head = head.removeprefix(codecs.BOM_UTF8)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    return "ndjson" if head.lstrip().startswith(b"{") else "csv"


def _number(text: str) -> int | float | str:
    """A grade; text that is none stays text, and the service says what is wrong with it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
