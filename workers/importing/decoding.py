"""A file's rows, to be decoded one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from typing import IO, NamedTuple, cast

from app.contracts.params import ImportParams
from app.errors import JobFailed, Malformed, TooLarge
from app.ingest.columns import Columns, SampleReader
from app.ingest.formats import FileKind, RowFormat, guess_kind, open_rows
from app.ingest.packing import Packing
from app.ingest.parquet import parquet_rows
from app.settings import Settings
from workers.importing.sources import SourceFile, Sources
from workers.storing.batches import Decoded

CHUNK = 2**18
_TABS = (".tsv", ".tsv.gz", ".tsv.zst")


class FileRow(NamedTuple):
    """decode: raises RowError. bytes_read: of the file, so far."""

    decode: Decoded
    bytes_read: int


def form_of(name: str, params: ImportParams) -> RowFormat | None:
    """What the job or else the file's name says; None where neither does."""
    guessed, packing = guess_kind(name)
    kind: FileKind | None = params.format or guessed
    if kind is None:
        return None
    packed: Packing = params.compression or packing
    given = {str(name): column for name, column in params.columns.items()}
    columns = Columns(given, None, params.ids == "rows")
    return RowFormat(kind, packed, params.delimiter or ("\t" if name.endswith(_TABS) else ","), columns)


def file_rows(sources: Sources, file: SourceFile, form: RowFormat, settings: Settings) -> Iterator[FileRow]:
    """Raises as `Sources` does, and JobFailed where the file is not of this form."""
    reader = SampleReader(form.columns)
    try:
        with sources.open(file) as opened:
            counted = _Counted(opened)
            rows: Iterator[Decoded]
            if form.kind == "parquet" and form.packing == "none" and opened.seekable():
                rows = parquet_rows(cast("IO[bytes]", counted), reader)
            else:
                rows = _streamed(counted, form, reader, settings)
            yield from (FileRow(decode, counted.bytes_read) for decode in rows)
    except (Malformed, TooLarge) as error:
        raise JobFailed("import_unreadable", f"{file.name}: {error.detail}") from error


def _streamed(
    source: _Counted, form: RowFormat, reader: SampleReader, settings: Settings
) -> Iterator[Decoded]:
    with closing(open_rows(form, reader, settings)) as rows:
        while chunk := source.read(CHUNK):
            yield from rows.feed(chunk)
        yield from rows.finish()


class _Counted(io.RawIOBase):
    """A file that knows how many bytes were read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.bytes_read += len(content)
        return content
