"""Places under GRADSIFT_DATA_URL: a directory, or an object-store URL such as s3://bucket/prefix."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from pyarrow import fs


def is_url(location: str) -> bool:
    return "://" in location


def join_location(base: str, *parts: str) -> str:
    if is_url(base):
        return "/".join([base.rstrip("/"), *parts])
    return str(Path(base).absolute().joinpath(*parts))


def filesystem(location: str) -> tuple[fs.FileSystem, str]:
    """The file system of a place, and the place's path in it."""
    if is_url(location):
        found, path = fs.FileSystem.from_uri(location)
        return found, path
    return fs.LocalFileSystem(), str(Path(location).absolute())


def exists(location: str) -> bool:
    store, path = filesystem(location)
    return bool(store.get_file_info(path).type != fs.FileType.NotFound)


def remove_tree(location: str) -> None:
    """Removes all below a place; on a disk it is gone at once, so that nobody meets half of it."""
    store, path = filesystem(location)
    if store.get_file_info(path).type != fs.FileType.Directory:
        return
    if not is_url(location):
        path, whole = f"{path}.{uuid.uuid4().hex}.gone", path
        store.move(whole, path)
    store.delete_dir(path)


def writable(location: str) -> bool:
    """Whether the place exists (it is made if not) and can be written."""
    store, path = filesystem(location)
    probe = f"{path}/.writable"
    try:
        store.create_dir(path, recursive=True)
        with store.open_output_stream(probe) as stream:
            stream.write(b"")
    except OSError:
        return False
    return True


def room(location: str) -> tuple[int, int] | None:
    """Free and total bytes of the place's file system; None for an object store, or where it is missing."""
    if is_url(location):
        return None
    try:
        usage = shutil.disk_usage(location)
    except OSError:
        return None
    return usage.free, usage.total
