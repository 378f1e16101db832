"""Packed bodies and files: gzip and zstd, unpacked as they come in."""

from __future__ import annotations

import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

from app.errors import Malformed

Packing = Literal["none", "gzip", "zstd"]
PART_BYTES = 2**18
FREE_BYTES = 64 * 2**20
MOST_TIMES = 200
"""Text packs to a tenth. What unpacks to over 64 MiB and over 200 times as much was made to hurt."""
_GZIP = 16 + zlib.MAX_WBITS


class Unpacker(ABC):
    """Bytes in, the unpacked bytes out in parts of at most 256 KiB; several archives may follow each other.

    Raises:
        Malformed: `invalid_packing`; it is no such archive, is cut off, or unpacks to far too much.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._given = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        self._taken += len(chunk)
        for part in self._unpack(chunk):
            self._given += len(part)
            if self._given > max(FREE_BYTES, MOST_TIMES * self._taken):
                detail = f"{self._taken} bytes unpack to over {self._given}, more than {MOST_TIMES} times"
                raise Malformed("invalid_packing", detail)
            yield part

    @abstractmethod
    def _unpack(self, chunk: bytes) -> Iterator[bytes]: ...

    @abstractmethod
    def finish(self) -> None:
        """To be called at the end, which must not be inside an archive."""


class Plain(Unpacker):
    def _unpack(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def finish(self) -> None:
        pass


class Gzip(Unpacker):
    def __init__(self) -> None:
        super().__init__()
        self._inner = zlib.decompressobj(_GZIP)
        self._inside = False

    def _unpack(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._inner.eof:
                self._inner, self._inside = zlib.decompressobj(_GZIP), False
                chunk = chunk.lstrip(b"\0")  # archives may be padded
                if not chunk:
                    return
            self._inside = True
            try:
                part = self._inner.decompress(chunk, PART_BYTES)
            except zlib.error as error:
                raise Malformed("invalid_packing", f"the gzip archive cannot be read: {error}") from error
            chunk = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if part:
                yield part

    def finish(self) -> None:
        if self._inside and not self._inner.eof:
            raise Malformed("invalid_packing", "the gzip archive is cut off")


class Zstd(Unpacker):
    def __init__(self) -> None:
        super().__init__()
        self._inner = ZstdDecompressor()
        self._inside = False

    def _unpack(self, chunk: bytes) -> Iterator[bytes]:
        while chunk or self._more():
            if self._inner.eof:
                self._inner, self._inside = ZstdDecompressor(), False
            self._inside = True
            try:
                part = self._inner.decompress(chunk, PART_BYTES)
            except ZstdError as error:
                raise Malformed("invalid_packing", f"the zstd archive cannot be read: {error}") from error
            chunk = self._inner.unused_data if self._inner.eof else b""
            if part:
                yield part

    def _more(self) -> bool:
        return self._inside and not self._inner.eof and not self._inner.needs_input

    def finish(self) -> None:
        if self._inside and not self._inner.eof:
            raise Malformed("invalid_packing", "the zstd archive is cut off")


UNPACKERS: dict[Packing, type[Unpacker]] = {"none": Plain, "gzip": Gzip, "zstd": Zstd}
