"""Parquet files as rows, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import Malformed, TooLarge
from app.ingest.streams import RowReader, RowStream

R = TypeVar("R")
ROWS_AT_MOST = 2_048
BATCH_BYTES = 8 * 2**20
_LIMITS: dict[str, Any] = {"thrift_string_size_limit": 2**26, "thrift_container_size_limit": 10**6}
_BROKEN = (pa.ArrowException, OSError, ValueError)


class ParquetStream(RowStream[R]):
    """The file's end says where its columns are, so it is kept on disk until all of it has come."""

    def __init__(self, reader: RowReader[R], max_file_bytes: int) -> None:
        self._reader = reader
        self._max_file_bytes = max_file_bytes
        self._file = TemporaryFile()  # noqa: SIM115  # deleted already; closed with the stream
        self._bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Callable[[], R]]:
        self._bytes += len(chunk)
        if self._bytes > self._max_file_bytes:
            raise TooLarge("file_too_large", f"a Parquet file may have {self._max_file_bytes} bytes")
        self._file.write(chunk)
        yield from ()

    def finish(self) -> Iterator[Callable[[], R]]:
        with self._file as file:
            if self._bytes:
                yield from parquet_rows(file, self._reader)

    def close(self) -> None:
        self._file.close()


def parquet_rows(file: IO[bytes] | pa.NativeFile, reader: RowReader[R]) -> Iterator[Callable[[], R]]:
    """The rows of a whole file.

    Raises:
        Malformed: it is none, lacks a column, or has a used one that is nested or binary.
    """
    try:
        opened = pq.ParquetFile(file, **_LIMITS)
        names = _checked_columns(opened.schema_arrow, reader)
        # Equal values are kept once: a short file may say one long text a million times.
        read_once = [name for name in names if _is_text(opened.schema_arrow.field(name).type)]
        opened = pq.ParquetFile(file, read_dictionary=read_once, pre_buffer=False, **_LIMITS)
        number = 0
        for batch in opened.iter_batches(batch_size=_batch_rows(opened.metadata), columns=names):
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield partial(reader.from_cells, dict(zip(batch.schema.names, values, strict=True)), number)
    except _BROKEN as error:
        raise Malformed("invalid_parquet", f"the Parquet file cannot be read: {error}") from error


def _checked_columns(schema: pa.Schema, reader: RowReader[R]) -> list[str]:
    present = schema.names
    if len(set(present)) != len(present):
        raise Malformed("invalid_parquet", "the file names a column twice")
    missing = reader.missing(present)
    if missing:
        raise Malformed("invalid_parquet", f"the file has no column {' and no column '.join(missing)}")
    names = reader.used(present)
    for name in names:
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(kind) or _is_binary(kind):
            raise Malformed(
                "invalid_parquet",
                f"column {name!r} is of type {kind}; text, numbers, true and false, dates can be read",
            )
    return names


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _batch_rows(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    widest = max((group.total_byte_size / group.num_rows for group in groups if group.num_rows), default=1.0)
    return max(1, min(ROWS_AT_MOST, int(BATCH_BYTES / max(widest, 1.0))))
