"""What every Lance table needs: few fragments, and versions that stay while somebody reads them."""

from __future__ import annotations

from datetime import timedelta

import lance

COMPACT_AT_FRAGMENTS = 64
KEEP_VERSIONS_FOR = timedelta(hours=1)


def compact_if_scattered(table: lance.LanceDataset) -> bool:
    """Joins many small fragments and drops old versions; those that are tagged stay."""
    if len(table.get_fragments()) < COMPACT_AT_FRAGMENTS:
        return False
    table.optimize.compact_files()
    table.optimize.optimize_indices()
    clean_up(table, KEEP_VERSIONS_FOR)
    return True


def clean_up(table: lance.LanceDataset, older_than: timedelta) -> None:
    """Drops versions older than that; those that are tagged stay."""
    table.cleanup_old_versions(older_than=older_than, error_if_tagged_old_versions=False)


def erase_deleted(table: lance.LanceDataset) -> None:
    """Makes deleted rows unreadable: they lie in no file any more, but for those of tagged versions."""
    table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
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
