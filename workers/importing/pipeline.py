"""The import job: one file after another, one batch after another, to the end or to a reason why not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from app.contracts import Progress
from app.contracts.params import ImportParams
from app.errors import GradSiftError, JobFailed
from app.ingest.formats import RowFormat
from app.ingest.rows import SampleRow
from app.settings import Settings
from app.store.state import State
from workers.ground import Ground
from workers.importing.decoding import FileRow, file_rows, form_of
from workers.importing.sources import PlaceAway, SourceFile, Sources
from workers.lease import JobLease
from workers.score.room import when_there_is_room
from workers.storing.batches import BatchStorer, Decoded
from workers.storing.position import Position

BATCH_BYTES = 32 * 2**20
"""Of a file: a batch of long rows is shorter."""
FILES = "files.json"
SKIPPED_AT_ONCE = 10_000
WEB_ATTEMPTS = 5
"""How often a job comes back to a place that does not answer."""


class ImportJob(Ground):
    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        super().__init__(state, settings, lease)
        self.params = ImportParams.model_validate(self.claim.job.params)
        self._storer = BatchStorer(self)
        self._position = Position()
        self._pace = _Pace()

    def run(self) -> dict[str, Any]:
        self.phase("looking")
        sources = Sources(self.params.url, self.settings)
        try:
            files = self._files(sources)
            self._position = self._storer.position()
            self._pace = _Pace(self._position.counts.received)
            for number, (file, form) in enumerate(files):
                if number >= self._position.file:
                    self._import(sources, file, form, files)
        except PlaceAway as error:
            if self.claim.job.attempt < WEB_ATTEMPTS:
                raise
            raise self._ended_early(JobFailed("import_unreadable", error.detail)) from error
        except JobFailed as error:
            raise self._ended_early(error) from error
        finally:
            sources.close()
        return self._result(len(files))

    def _files(self, sources: Sources) -> list[tuple[SourceFile, RowFormat]]:
        """The same for every attempt; of a folder, those whose name says what they are."""
        found = [(file, form_of(file.name, self.params)) for file in sources.files()]
        known = [(file, form) for file, form in found if form is not None]
        if not known or (len(known) < len(found) and not sources.several):
            names = ", ".join(file.name for file, form in found[:5] if form is None)
            raise JobFailed(
                "import_unreadable",
                f"the names do not say what they are: {names}",
                remedy="Name `format`: ndjson, csv or parquet.",
            )
        files = self._fixed([file for file, _ in known])
        forms = ((file, form_of(file.name, self.params)) for file in files)
        return [(file, form) for file, form in forms if form is not None]

    def _fixed(self, found: list[SourceFile]) -> list[SourceFile]:
        """Those that the first attempt found. A file and no field of the job: there may be thousands."""
        if not self.artifacts.has(FILES):
            content = msgspec.json.encode(found)
            when_there_is_room(self.lease, lambda: self.artifacts.write(FILES, content))
        return msgspec.json.decode(self.artifacts.read(FILES) or b"", type=list[SourceFile])

    def _import(
        self,
        sources: Sources,
        file: SourceFile,
        form: RowFormat,
        files: list[tuple[SourceFile, RowFormat]],
    ) -> None:
        sizes = [one.size for one, _ in files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        rows = file_rows(sources, file, form, self.settings)
        skipped = read = self._skip(rows, self._position.row)
        named = self._naming(file, several=sources.several)
        for batch, read in self._batches(rows, skipped):
            decoded = [named(row.decode) for row in batch]
            self._position = self._storer.store(self.dataset(), self._position, decoded, file=file.name)
            self._show(f"reading {file.name}", self._position.bytes_before + read, total)
        self._position = self._position.in_the_next_file(file.size or read)
        self._storer.save(self._position)

    def _batches(self, rows: Iterator[FileRow], began: int) -> Iterator[tuple[list[FileRow], int]]:
        """Each with the bytes of the file that have been read. Where a batch ends, the content alone says, so
        that every attempt makes the same ones."""
        batch: list[FileRow] = []
        for row in rows:
            batch.append(row)
            if len(batch) == self.settings.ingest_batch_rows or row.bytes_read - began > BATCH_BYTES:
                yield batch, row.bytes_read
                batch, began = [], row.bytes_read
        if batch:
            yield batch, batch[-1].bytes_read

    def _skip(self, rows: Iterator[FileRow], count: int) -> int:
        """Over what earlier attempts have settled; the bytes that were read for it."""
        read = 0
        for number, row in enumerate(islice(rows, count)):
            read = row.bytes_read
            if number % SKIPPED_AT_ONCE == 0:
                self.phase("going on")
        return read

    def _naming(self, file: SourceFile, *, several: bool) -> Callable[[Decoded], Decoded]:
        """Rows that are numbered bear the name of their file, where there are several."""
        if self.params.ids == "column" or not several:
            return lambda decode: decode
        return lambda decode: partial(_under, file.name.replace("/", ":"), decode)

    def _show(self, phase: str, done: int, total: int | None) -> None:
        received = self._position.counts.received
        fraction = 0.0 if not total else min(1.0, done / total)
        self.lease.step(
            Progress(
                phase=phase,
                step=received,
                fraction=fraction,
                eta_seconds=self._pace.left(fraction),
                samples_per_second=self._pace.rows_per_second(received),
            )
        )

    def _result(self, files: int) -> dict[str, Any]:
        position = self._position
        counts = position.counts
        rejected = [msgspec.to_builtins(one) for one in position.rejected]
        if not counts.stored:
            first = "; ".join(f"{one['file']}, row {one['row']}: {one['detail']}" for one in rejected[:3])
            what = f"all {counts.received} rows were rejected: {first}" if rejected else "there are no rows"
            raise JobFailed("import_nothing_stored", what)
        return {"files": files, **asdict(counts), "rejected": rejected}

    def _ended_early(self, error: GradSiftError) -> JobFailed:
        stored = self._position.counts.stored
        said = f"{error.detail}; {stored} rows were stored before, and stay" if stored else error.detail
        return JobFailed(error.code, said, remedy=error.remedy)


class _Pace:
    """Of this attempt alone: what an earlier one did says nothing of how fast this one is."""

    def __init__(self, rows_before: int = 0) -> None:
        self._began = time.monotonic()
        self._rows_before = rows_before
        self._first: tuple[float, float] | None = None

    def rows_per_second(self, received: int) -> float:
        return (received - self._rows_before) / max(time.monotonic() - self._began, 1e-3)

    def left(self, fraction: float) -> float | None:
        now = time.monotonic()
        if self._first is None:
            self._first = (self._began, 0.0) if not self._rows_before else (now, fraction)
        began, at = self._first
        if fraction <= at:
            return None
        return (now - began) * (1.0 - fraction) / (fraction - at)


def _under(name: str, decode: Decoded) -> SampleRow:
    row = decode()
    return msgspec.structs.replace(row, id=f"{name}{row.id.removeprefix('row')}")
