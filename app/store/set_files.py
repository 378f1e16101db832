"""A set version as a Parquet file, by ordinal: from it the version is made again, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.store.artifacts import crc_mark
from app.store.sets import Placement

_NAME = re.compile(r"sets/(\d{8})-(\d+)-[0-9a-f]{8}\.parquet")
_DESCRIPTION = b"gradsift.description"
_DTYPES = {
    "ordinals": np.int64,
    "generations": np.uint32,
    "importance": np.float64,
    "noise": np.float64,
    "sets": np.uint8,
    "reasons": np.uint8,
    "suggested": np.int32,
}


class StoredVersion(NamedTuple):
    """`description`: the SetVersion as the JSON that stands in Redis."""

    description: str
    placement: Placement


def version_file(number: int, token: int, content: bytes) -> str:
    return f"sets/{number:08}-{token}-{crc_mark(content)}.parquet"


def newest_files(names: Iterable[str]) -> dict[int, str]:
    """Version number → its file; that of the newest worker, where one that was replaced has left another."""
    found: dict[int, tuple[int, str]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            number, token = map(int, match.groups())
            found[number] = max(found.get(number, (-1, "")), (token, name))
    return {number: name for number, (_, name) in sorted(found.items())}


def version_number(name: str) -> int | None:
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])


def pack_version(version: StoredVersion) -> bytes:
    by_ordinal = np.argsort(version.placement.ordinals, kind="stable")
    columns: dict[str, NDArray[np.generic]] = {
        name: getattr(version.placement, name)[by_ordinal] for name in _DTYPES
    }
    table = pa.table(columns | {"rank": by_ordinal})
    table = table.replace_schema_metadata({_DESCRIPTION: version.description.encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def unpack_version(content: bytes) -> StoredVersion:
    """Raises OSError, ValueError or KeyError for anything else."""
    table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
    if "suggested" not in table.column_names:  # written before versions had suggestions
        table = table.append_column("suggested", pa.array(np.full(table.num_rows, -1, dtype=np.int32)))
    by_rank = np.argsort(table["rank"].to_numpy())
    arrays = {name: table[name].to_numpy().astype(dtype)[by_rank] for name, dtype in _DTYPES.items()}
    return StoredVersion(table.schema.metadata[_DESCRIPTION].decode(), Placement(**arrays))
