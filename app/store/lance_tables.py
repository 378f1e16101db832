"""What every Lance table needs: few fragments, and versions that stay while somebody reads them."""

from __future__ import annotations

import lance

from app.logs import get_logger

COMPACT_AT_FRAGMENTS = 64
"""By the housekeeper."""
COMPACT_AT_ONCE = 4 * COMPACT_AT_FRAGMENTS
"""By the writer, who waits for it: nobody else has done so for long."""
log = get_logger(__name__)


def compact_if_scattered(table: lance.LanceDataset) -> bool:
    """Joins very many small fragments."""
    if len(table.get_fragments()) < COMPACT_AT_ONCE:
        return False
    try:
        table.optimize.compact_files()
        table.optimize.optimize_indices()
    except OSError as error:  # the housekeeper was at it: what was written is there all the same
        log.warning("a table was not compacted", error=str(error))
        return False
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
