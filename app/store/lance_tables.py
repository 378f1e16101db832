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
    table.cleanup_old_versions(older_than=KEEP_VERSIONS_FOR, error_if_tagged_old_versions=False)
    return True


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
