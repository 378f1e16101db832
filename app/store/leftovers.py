"""Files that a process which died left half written or half removed, under names that only we give."""

from __future__ import annotations

import time
from contextlib import suppress

from pyarrow import fs

from app.store.locations import filesystem, is_url, join_location

FOLDERS = ("archive", "audit", "datasets", "jobs", "responses", "results")
OLD_SECONDS = 24 * 3600.0
"""Nobody writes one file for so long."""


def remove_leftovers(data_url: str) -> int:
    """Removes `….part` files and `….gone` folders that are old; answers how many. On disks alone: an object
    store shows only what is whole."""
    if is_url(data_url):
        return 0
    removed = 0
    for folder in FOLDERS:
        store, path = filesystem(join_location(data_url, folder))
        selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
        for info in store.get_file_info(selector):
            if info.mtime is None or time.time() - info.mtime.timestamp() < OLD_SECONDS:
                continue
            with suppress(OSError):  # gone with what it lies in
                if info.type == fs.FileType.File and info.base_name.endswith(".part"):
                    store.delete_file(info.path)
                    removed += 1
                elif info.type == fs.FileType.Directory and info.base_name.endswith(".gone"):
                    store.delete_dir(info.path)
                    removed += 1
    return removed
