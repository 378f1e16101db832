"""A file that is read as a stream, and how far it has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from app.errors import GradSiftError


@dataclass
class OpenedFile:
    """Raises GradSiftError `unreadable_file`."""

    path: Path

    def __enter__(self) -> Self:
        try:
            self._raw: IO[bytes] = self.path.open("rb")
        except OSError as error:
            raise self.unreadable(error) from error
        status = self.path.stat()
        self.size, self.changed_ns = status.st_size, status.st_mtime_ns
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    @property
    def share_read(self) -> float:
        """From 0 to 1."""
        return self._raw.tell() / self.size if self.size else 1.0

    def unreadable(self, error: Exception) -> GradSiftError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return GradSiftError(
            "unreadable_file",
            f"cannot read {self.path}: {reason}",
            remedy="Name a Parquet file, or CSV or NDJSON in UTF-8, plain or packed (.gz, .zst).",
        )


@contextmanager
def sending_progress(file: OpenedFile) -> Iterator[Callable[[int], None]]:
    """A bar over the file, in a terminal; gives what moves it on, told how many rows are sent."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("sending"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}% {task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=1.0, rows=0)
        yield lambda rows: progress.update(bar, completed=file.share_read, rows=rows)
