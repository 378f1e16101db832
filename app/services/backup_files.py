"""The files of a backup and their catalogue, without which there is no backup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Protocol

import msgspec

from app.contracts import now
from app.errors import Conflict, Damaged
from app.store.artifacts import Folder

CATALOGUE = "backup.json"
FORMAT = 1
CHUNK = 4 * 2**20


class FileMark(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class Catalogue(msgspec.Struct, frozen=True):
    format: int
    created_at: str
    files: dict[str, FileMark]


class _Stream(Protocol):
    def write(self, content: bytes, /) -> int: ...


class HashingStream:
    """Writes on to another stream, and keeps length and SHA-256 of what went through."""

    closed = False

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._sha256 = sha256()
        self._size = 0

    def write(self, content: bytes) -> int:
        self._stream.write(content)
        self._sha256.update(content)
        self._size += len(content)
        return len(content)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def mark(self) -> FileMark:
        return FileMark(self._size, self._sha256.hexdigest())


class BackupWriter:
    """Writes files to a new place; the catalogue comes last.

    Raises:
        Conflict: the place holds files already.
    """

    def __init__(self, to: str) -> None:
        self._folder = Folder(to)
        if self._folder.names():
            remedy = "Name a new or an empty place for the backup."
            raise Conflict("not_empty", f"{to} holds files already", remedy=remedy)
        self._files: dict[str, FileMark] = {}

    @contextmanager
    def writing(self, name: str) -> Iterator[HashingStream]:
        with self._folder.writing(name) as target:
            stream = HashingStream(target)
            yield stream
        self._files[name] = stream.mark()

    def write(self, name: str, content: bytes) -> None:
        with self.writing(name) as stream:
            stream.write(content)

    def forget(self, home: str) -> None:
        """Takes back what was written below a folder."""
        for name in [name for name in self._files if name.startswith(f"{home}/")]:
            self._folder.remove(name)
            del self._files[name]

    def close(self) -> tuple[int, int]:
        """Makes it a backup; answers how many files it has, and their bytes."""
        catalogue = Catalogue(FORMAT, now().isoformat(), self._files)
        self._folder.write(CATALOGUE, msgspec.json.format(msgspec.json.encode(catalogue), indent=1))
        return len(self._files), sum(mark.size for mark in self._files.values())


def read_catalogue(folder: Folder) -> Catalogue:
    """Raises Damaged where there is no whole backup."""
    content = folder.read(CATALOGUE)
    if content is None:
        detail = f"{folder.location} is no backup, or one that was not finished: it has no {CATALOGUE}"
        raise _damaged(detail)
    try:
        catalogue = msgspec.json.decode(content, type=Catalogue)
    except msgspec.DecodeError as error:
        raise _damaged(f"{folder.location}/{CATALOGUE} cannot be read: {error}") from error
    if catalogue.format != FORMAT:
        raise _damaged(f"the backup has format {catalogue.format}, this version reads {FORMAT}")
    return catalogue


def check_files(folder: Folder, catalogue: Catalogue) -> None:
    """Reads every file once. Raises Damaged, naming the first one that is gone, altered or cut off."""
    for name, mark in catalogue.files.items():
        if not folder.has(name):
            raise _damaged(f"{folder.location}/{name} is gone")
        found = HashingStream(_Nowhere())
        with folder.open(name) as source:
            while chunk := source.read(CHUNK):
                found.write(chunk)
        if found.mark() != mark:
            raise _damaged(f"{folder.location}/{name} is not what was written: {found.tell()} bytes")


class _Nowhere:
    def write(self, content: bytes, /) -> int:
        return len(content)


def _damaged(detail: str) -> Damaged:
    return Damaged("damaged_backup", detail)
