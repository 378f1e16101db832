"""CSV, NDJSON and Parquet files as rows: the columns by name, or why a row cannot be read."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any, cast

from app.errors import Malformed

MAX_CELL_CHARS = 2**31 - 1
PARQUET_ROWS = 1_000
PARQUET_BUFFER = 2**20
"""Of a column that is read piece by piece: a whole row group may not fit into memory."""
Found = dict[str, Any] | str
CheckHeader = Callable[[list[str]], None]
"""Raises Malformed where a column is missing."""


def unpacked(raw: IO[bytes], packed: str | None) -> IO[bytes]:
    """packed: `gzip`, `zstd` or None."""
    if packed == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if packed == "zstd":
        import pyarrow as pa

        return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return raw


def csv_rows(
    text: IO[str], delimiter: str, path: str, check_header: CheckHeader
) -> Iterator[tuple[int, Found]]:
    csv.field_size_limit(MAX_CELL_CHARS)
    reader = csv.DictReader(text, strict=True, delimiter=delimiter)
    try:
        check_header([*(reader.fieldnames or [])])
        for number, cells in enumerate(reader, start=1):
            yield number, {name: cell for name, cell in cells.items() if cell}
    except csv.Error as error:
        raise Malformed("invalid_csv", f"{path}, line {reader.line_num}: {error}") from error


def ndjson_rows(text: IO[str]) -> Iterator[tuple[int, Found]]:
    number = 0
    for line in text:
        if not line.strip():
            continue
        number += 1
        try:
            found = json.loads(line)
        except ValueError as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, found if isinstance(found, dict) else "not a JSON object"


def parquet_rows(
    raw: IO[bytes], columns: list[str], check_header: CheckHeader
) -> Iterator[tuple[int, Found, float]]:
    """Each row with the share of the file that is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(raw, pre_buffer=False, buffer_size=PARQUET_BUFFER)
        check_header(list(file.schema_arrow.names))
        number, rows = 0, file.metadata.num_rows
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: _plain(value) for name, value in row.items()}, number / rows
    except pa.ArrowException as error:
        raise OSError(f"it is not Parquet that can be read: {error}") from error


def _plain(value: object) -> object:
    """What JSON can say of a value; a missing number, as data frames write it, is none."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
