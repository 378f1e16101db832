"""Reads CSV and NDJSON files row by row, under the contract's names."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from app.errors import GradSiftError, Malformed

MAX_CELL_CHARS = 2**31 - 1
_NDJSON_NAMES = (".ndjson", ".jsonl", ".json")


@dataclass(frozen=True)
class Columns:
    """Which column of the file holds what; None: the file has no such column."""

    text: str
    label: str | None = None
    id: str | None = None
    text_pair: str | None = None
    group: str | None = None
    split: str | None = None

    def named(self) -> dict[str, str]:
        """The contract's name → the file's."""
        return {name: column for name, column in vars(self).items() if column is not None}


@dataclass
class SampleFile:
    """A file that is read as a stream; `bytes_read` says how far, for a progress bar.

    Raises:
        GradSiftError: `unreadable_file`.
        Malformed: `invalid_csv` or `missing_column`, with the line.
    """

    path: Path
    columns: Columns
    graded: bool = False
    """Labels of a CSV are numbers (relevance grades)."""
    skipped: list[tuple[int, str]] = field(default_factory=list)
    """Rows that cannot be sent: their number, from 1, and why."""

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

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number of each row, from 1, and the row under the contract's names."""
        packed = self.path.suffix == ".gz"
        stream = gzip.GzipFile(fileobj=self._raw) if packed else self._raw
        name = self.path.with_suffix("").name if packed else self.path.name
        text = io.TextIOWrapper(cast("IO[bytes]", stream), encoding="utf-8-sig", newline="")
        read = self._ndjson if name.endswith(_NDJSON_NAMES) else self._csv
        try:
            for number, row in read(text):
                row.setdefault("id", f"row-{number:06d}")
                yield number, row
        except (UnicodeDecodeError, OSError, EOFError) as error:
            raise self._unreadable(error) from error
        finally:
            text.detach()

    def _csv(self, text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
        csv.field_size_limit(MAX_CELL_CHARS)
        reader = csv.DictReader(text, strict=True)
        wanted = self.columns.named()
        number = 0
        try:
            self._check_header([*(reader.fieldnames or [])])
            for cells in reader:
                number += 1
                row: dict[str, Any] = {
                    name: cells[column] for name, column in wanted.items() if cells[column]
                }
                if self.graded and "label" in row:
                    row["label"] = _number(row["label"])
                yield number, row
        except csv.Error as error:
            raise Malformed("invalid_csv", f"{self.path}, line {reader.line_num}: {error}") from error

    def _check_header(self, header: list[str]) -> None:
        missing = [column for column in self.columns.named().values() if column not in header]
        if missing:
            raise Malformed(
                "missing_column",
                f"{self.path} has no column {' and no column '.join(map(repr, missing))}",
                remedy=f"Its columns are: {', '.join(header) or 'none'}.",
            )

    def _ndjson(self, text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
        wanted = self.columns.named()
        number = 0
        for line in text:
            if not line.strip():
                continue
            number += 1
            try:
                found = json.loads(line)
            except ValueError as error:
                self.skipped.append((number, f"not JSON: {error}"))
                continue
            if not isinstance(found, dict):
                self.skipped.append((number, "not a JSON object"))
                continue
            yield (
                number,
                {name: found[column] for name, column in wanted.items() if found.get(column) is not None},
            )

    def _unreadable(self, error: Exception) -> GradSiftError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return GradSiftError(
            "unreadable_file",
            f"cannot read {self.path}: {reason}",
            remedy="Name a CSV or NDJSON file in UTF-8, plain or packed by gzip (.gz).",
        )


def _number(text: str) -> int | float | str:
    """A grade; text that is none stays text, and the service says what is wrong with it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
