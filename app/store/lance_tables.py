"""What every Lance table needs: few fragments, and versions that stay while somebody reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import lance

from app.logs import get_logger

FRAGMENT_ROWS = 2**18
"""Fragments of so many rows are left as they are. Lance's own million costs hundreds of MB to join."""
COMPACT_AT_FRAGMENTS = 64
"""Of fewer rows, by the housekeeper."""
COMPACT_AT_ONCE = 4 * COMPACT_AT_FRAGMENTS
"""By the writer, who waits for it: nobody else has done so for long."""
INDEX_CACHE_BYTES = 32 * 2**20
METADATA_CACHE_BYTES = 8 * 2**20
"""Of a process and kind of table; Lance's own bounds are gigabytes."""
APPENDING_BYTES = 2 * 2**20
"""Of each cache of a session that rows are appended in. Every commit leaves a manifest and more there, which
nobody asks for after the next commit, and which keeps the pages around it from being given back."""
JOINING: dict[str, Any] = {"target_rows_per_fragment": FRAGMENT_ROWS, "num_threads": 1, "batch_size": 1024}
log = get_logger(__name__)


def open_session(*, appending: bool = False) -> Any:
    """What is kept of files between calls; a handle itself is not shared by threads.

    appending: for those who need no more than the newest version's manifest.
    """
    return lance.Session(  # type: ignore[attr-defined]
        index_cache_size_bytes=APPENDING_BYTES if appending else INDEX_CACHE_BYTES,
        metadata_cache_size_bytes=APPENDING_BYTES if appending else METADATA_CACHE_BYTES,
    )


def small_fragments(table: lance.LanceDataset) -> list[lance.LanceFragment]:
    return [fragment for fragment in table.get_fragments() if fragment.physical_rows < FRAGMENT_ROWS]


def compact_if_scattered(table: lance.LanceDataset) -> bool:
    """Joins very many small fragments."""
    if len(small_fragments(table)) < COMPACT_AT_ONCE:
        return False
    try:
        table.optimize.compact_files(**JOINING)
        table.optimize.optimize_indices()
    except OSError as error:  # the housekeeper was at it: what was written is there all the same
        log.warning("a table was not compacted", error=str(error))
        return False
    return True


def clean_up(table: lance.LanceDataset, older_than: timedelta) -> None:
    """Drops versions older than that; those that are tagged stay."""
    table.cleanup_old_versions(older_than=older_than, error_if_tagged_old_versions=False)


def erase_deleted(table: lance.LanceDataset) -> None:
    """Makes deleted rows unreadable: they lie in no file any more, but for those of tagged versions."""
    table.optimize.compact_files(**JOINING, materialize_deletions_threshold=0.0)
    table.optimize.optimize_indices()
    clean_up(table, timedelta(0))


def pin(table: lance.LanceDataset, tag: str) -> int:
    """Keeps the present version from clean-up under a name; the same name gives the same version."""
    known = table.tags.list()
    if tag not in known:
        table.tags.create(tag, table.version)
        return int(table.version)
    return int(known[tag]["version"])


def unpin(table: lance.LanceDataset, tag: str) -> None:
    if tag in table.tags.list():
        table.tags.delete(tag)
