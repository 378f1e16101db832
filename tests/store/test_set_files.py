"""The file of a set version: all of a placement comes back, from files of before too."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.store.keys import Keys
from app.store.set_files import StoredVersion, pack_version, unpack_version
from app.store.sets import Placement, version_chunks

PLACED = Placement(
    ordinals=np.array([4, 0, 9], dtype=np.int64),
    generations=np.array([1, 0, 2], dtype=np.uint32),
    importance=np.array([3.5, 2.5, 1.5]),
    noise=np.array([0.1, np.nan, 0.9]),
    sets=np.array([1, 2, 3], dtype=np.uint8),
    reasons=np.array([1, 4, 6], dtype=np.uint8),
    suggested=np.array([-1, 2, 0], dtype=np.int32),
)


def without_suggestions(content: bytes) -> bytes:
    """As the file was written before versions had suggestions."""
    sink = pa.BufferOutputStream()
    table = pq.read_table(pa.BufferReader(content)).drop_columns(["suggested"])
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def test_every_array_comes_back_with_its_type() -> None:
    back = unpack_version(pack_version(StoredVersion("{}", PLACED)))
    assert back.description == "{}"
    for field in fields(Placement):
        wanted, found = getattr(PLACED, field.name), getattr(back.placement, field.name)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


def test_a_file_of_before_suggests_nothing_and_gives_the_same_bytes_in_redis() -> None:
    content = pack_version(StoredVersion("{}", PLACED))
    old = unpack_version(without_suggestions(content))
    assert old.placement.suggested.tolist() == [-1, -1, -1]
    keys = Keys("p").dataset("u")
    assert list(version_chunks(keys, 1, old.placement)) == list(version_chunks(keys, 1, PLACED))
