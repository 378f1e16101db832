"""Commands about many samples at once, packed for the wire by hand.

On the server a plain command costs less than a call out of a script, and here a line of text less than what a
general packer makes of a tuple. One command is packed for each number that is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from app.store.ids import segment_buckets
from app.store.layout import (
    CELL,
    CELLS_A_CHUNK,
    ENTRIES_A_BUCKET,
    HEADER,
    RECORD,
    SHARD_RECORDS,
)

_HGET = "*3\r\n$4\r\nHGET\r\n"
_GETRANGE = "*4\r\n$8\r\nGETRANGE\r\n"
_MOST_DIGITS = 11


def _bulk(text: object) -> str:
    return f"${len(str(text))}\r\n{text}\r\n"


@lru_cache(maxsize=1024)
def _heads(command: str, prefix: str) -> list[str]:
    """The command up to the digits that end its key, by how many digits there are."""
    length = len(prefix.encode())
    return [f"{command}${length + digits}\r\n{prefix}" for digits in range(_MOST_DIGITS)]


class Items:
    """What lies by ordinal in keys of `per_key` each: a field of a hash, or a stretch of a string."""

    def __init__(self, command: str, per_key: int, ends: Sequence[str]) -> None:
        self._command = command
        self._per_key = per_key
        self._ends = ends

    @classmethod
    def fields(cls, per_key: int) -> Items:
        return cls(_HGET, per_key, [f"\r\n{_bulk(at)}" for at in range(per_key)])

    @classmethod
    def stretches(cls, per_key: int, header: int, size: int) -> Items:
        starts = range(header, header + per_key * size, size)
        return cls(_GETRANGE, per_key, [f"\r\n{_bulk(start)}{_bulk(start + size - 1)}" for start in starts])

    def ask(self, prefix: str, ordinals: Iterable[int]) -> str:
        """Args: prefix: of the keys, before `ordinal // per_key`."""
        heads, per_key, ends = _heads(self._command, prefix), self._per_key, self._ends
        return "".join(
            [
                f"{heads[len(key := str(ordinal // per_key))]}{key}{ends[ordinal % per_key]}"
                for ordinal in ordinals
            ]
        )


ENTRIES = Items.fields(ENTRIES_A_BUCKET)
RECORDS = Items.stretches(SHARD_RECORDS, HEADER.size, RECORD.itemsize)
CELLS = Items.stretches(CELLS_A_CHUNK, 0, CELL.itemsize)
_MARKS = [f"\r\n{_bulk(mark)}" for mark in range(2**12)]


def ask_index(prefix: str, segment: int, crcs: Iterable[int]) -> str:
    """Which ordinals ids with these CRC-32 may have in a segment of the index."""
    heads, buckets = _heads(_HGET, f"{prefix}{segment}:"), segment_buckets(segment)
    return "".join([f"{heads[len(key := str(crc % buckets))]}{key}{_MARKS[crc >> 20]}" for crc in crcs])
