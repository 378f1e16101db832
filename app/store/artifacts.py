"""Files under GRADSIFT_DATA_URL: those of jobs (checkpoints, reports), and what `app.store.archive` keeps."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from pyarrow import fs

from app.store.locations import filesystem, is_url, join_location, remove_tree


class Folder:
    """Whole files by name below one place; a file appears complete and durable, or not at all.

    What a file holds is what was written, whatever its name: Arrow would unpack a `.zst` by itself.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._store, self._path = filesystem(location)
        self._in_place = is_url(location)  # object stores show an object only once it is complete

    def write(self, name: str, content: bytes | memoryview) -> None:
        with self.writing(name) as stream:
            stream.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[fs.NativeFile]:
        """A stream whose file appears when the block ends without an error."""
        target = f"{self._path}/{name}"
        self._store.create_dir(target.rpartition("/")[0], recursive=True)
        written = target if self._in_place else f"{target}.{uuid.uuid4().hex}.part"
        try:
            with self._store.open_output_stream(written, compression=None) as stream:
                yield stream
        except BaseException:
            if written != target:
                with suppress(OSError):
                    self._store.delete_file(written)
            raise
        if written != target:
            _sync(Path(written))
            self._store.move(written, target)
            _sync(Path(target).parent)

    def read(self, name: str) -> bytes | None:
        if not self.has(name):
            return None
        with self._store.open_input_stream(f"{self._path}/{name}", compression=None) as stream:
            return bytes(stream.read())

    def open(self, name: str) -> fs.NativeFile:
        """The file for reading anywhere in it; to be closed by the caller."""
        return self._store.open_input_file(f"{self._path}/{name}")

    def check(self, name: str) -> None:
        """Raises OSError where a file is gone or is not what its name says (`crc_mark`)."""
        found = 0
        with self._store.open_input_stream(f"{self._path}/{name}", compression=None) as stream:
            while chunk := stream.read(2**20):
                found = crc32(chunk, found)
        if f"-{found:08x}." not in name:
            raise OSError("it is not what was written")

    def read_checked(self, name: str) -> bytes:
        """Raises OSError as `check` does."""
        self.check(name)
        return self.read(name) or b""

    def has(self, name: str) -> bool:
        return bool(self._store.get_file_info(f"{self._path}/{name}").type == fs.FileType.File)

    def size(self, name: str) -> int:
        """Bytes of a file that is there."""
        return int(self._store.get_file_info(f"{self._path}/{name}").size)

    def names(self) -> list[str]:
        """The complete files below the place, by name, in order."""
        selector = fs.FileSelector(self._path, recursive=True, allow_not_found=True)
        found = (info.path for info in self._store.get_file_info(selector) if info.type == fs.FileType.File)
        start = len(self._path) + 1
        return sorted(path[start:] for path in found if not path.endswith(".part"))

    def remove(self, name: str) -> None:
        if self.has(name):
            self._store.delete_file(f"{self._path}/{name}")

    def remove_all(self) -> None:
        remove_tree(self.location)


def crc_mark(content: bytes | memoryview) -> str:
    """The CRC-32 that a file of the archive carries in its name."""
    return f"{crc32(content):08x}"


class ArtifactStore(Folder):
    """The files of one job, until it has ended."""

    def __init__(self, data_url: str, job_id: str) -> None:
        super().__init__(join_location(data_url, "jobs", job_id))


def jobs_with_artifacts(data_url: str) -> list[str]:
    """Ids of the jobs that have any file."""
    store, path = filesystem(join_location(data_url, "jobs"))
    found = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [info.base_name for info in found if info.type == fs.FileType.Directory]


def _sync(path: Path) -> None:
    """A rename alone may reach the disk before what was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
