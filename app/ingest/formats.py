"""What a body or a file of samples may be, and how its rows are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeVar

from app.ingest.columns import Columns
from app.ingest.packing import UNPACKERS, Packing
from app.ingest.parquet import ParquetStream
from app.ingest.streams import CsvStream, NdjsonStream, PackedStream, RowReader, RowStream
from app.settings import Settings

R = TypeVar("R")
FileKind = Literal["ndjson", "csv", "parquet"]
BY_ENDING: dict[str, FileKind] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
PACKING_BY_ENDING: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class RowFormat:
    kind: FileKind
    packing: Packing = "none"
    delimiter: str = ","
    columns: Columns = field(default_factory=Columns)


def guess_kind(name: str) -> tuple[FileKind | None, Packing]:
    """What a file is by its name, such as `reviews.csv.gz`; None where the name does not tell."""
    for ending, packing in PACKING_BY_ENDING.items():
        if name.endswith(ending):
            return guess_kind(name.removesuffix(ending))[0], packing
    return next((kind for ending, kind in BY_ENDING.items() if name.endswith(ending)), None), "none"


def open_rows(form: RowFormat, reader: RowReader[R], settings: Settings) -> RowStream[R]:
    """A stream that is fed with the bytes of such a file."""
    rows: RowStream[R]
    if form.kind == "ndjson":
        rows = NdjsonStream(reader, settings.max_line_bytes)
    elif form.kind == "csv":
        rows = CsvStream(reader, settings.max_line_bytes, form.delimiter)
    else:
        rows = ParquetStream(reader, settings.max_file_bytes)
    return rows if form.packing == "none" else PackedStream(rows, UNPACKERS[form.packing]())
