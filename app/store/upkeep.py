"""Keeps a Lance table in order beside those who use it: few fragments, no old versions, no tombstones.

Rewriting, which takes long, holds nobody up; only its commit, which does not, is made under the dataset's
write lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any, cast

import lance
from lance.optimize import Compaction, CompactionOptions, CompactionTask, RewriteResult

from app.store.lance_tables import COMPACT_AT_FRAGMENTS, JOINING, small_fragments
from app.store.locations import filesystem, join_location

TOMBSTONES = 0.1
"""Rewritten where so great a share of the rows is deleted."""
PATIENCE_BYTES = 64 * 2**20
"""So much is rewritten in a second or so."""
Open = Callable[[], lance.LanceDataset]
Writing = Callable[[], AbstractContextManager[None]]


class TableUpkeep:
    """open_now: the table as it is now. writing: holds the right to change it."""

    def __init__(self, location: str, open_now: Open, writing: Writing) -> None:
        self._data = join_location(location, "data")
        self._open = open_now
        self._writing = writing

    def compact_if_needed(self) -> bool:
        """Raises OSError: writers were quicker, and it would take too long to hold them up."""
        table = self._open()
        fragments = table.get_fragments()
        deleted = sum(fragment.num_deletions for fragment in fragments)
        rows = sum(fragment.physical_rows for fragment in fragments)
        if len(small_fragments(table)) < COMPACT_AT_FRAGMENTS and deleted <= TOMBSTONES * rows:
            return False
        self._compact(TOMBSTONES, patience_bytes=PATIENCE_BYTES)
        return True

    def purge(self) -> int:
        """Rewrites all that holds deleted rows; the version from which on the files hold none of those that
        were deleted before this call. Where writers come between, they wait while it is done again.

        Raises:
            OSError: the store refuses.
        """
        self._compact(0.0, patience_bytes=None)
        return int(self._open().version)

    def _compact(self, threshold: float, *, patience_bytes: int | None) -> None:
        """patience_bytes: how much may be rewritten while writers wait; None: any."""
        options: CompactionOptions = cast(
            "CompactionOptions", {**JOINING, "materialize_deletions_threshold": threshold}
        )
        table = self._open()
        for task in Compaction.plan(table, options).tasks:
            if self._done_beside_writers(table, task):
                continue
            if patience_bytes is not None and _bytes_of(task) > patience_bytes:
                raise OSError("a table that is written all the time could not be compacted")
            with self._writing():
                now = self._open()
                for again in Compaction.plan(now, options).tasks:
                    Compaction.commit(now, [again.execute(now)])
            break
        self._open().optimize.optimize_indices()

    def _done_beside_writers(self, table: lance.LanceDataset, task: CompactionTask) -> bool:
        """False where one of them has changed what was rewritten."""
        rewritten = task.execute(table)
        try:
            with self._writing():
                Compaction.commit(self._open(), [rewritten])
        except OSError as error:
            if "conflict" not in str(error):
                raise
            self._remove(rewritten)
            return False
        return True

    def _remove(self, rewritten: RewriteResult) -> None:
        """Files of no version, in which what is deleted later would stay for days."""
        store, folder = filesystem(self._data)
        for fragment in json.loads(cast("Any", rewritten).json())["new_fragments"]:
            for file in fragment["files"]:
                with suppress(FileNotFoundError):
                    store.delete_file(f"{folder}/{file['path']}")

    def drop_versions(self, older_than: timedelta) -> int:
        """The bytes that were freed; tagged versions stay."""
        table = self._open()
        stats = table.cleanup_old_versions(older_than=older_than, error_if_tagged_old_versions=False)
        return int(stats.bytes_removed)

    def versions(self) -> list[int]:
        """Those that are kept, oldest first."""
        return sorted(int(version["version"]) for version in self._open().versions())

    def deletions(self) -> int:
        """Rows that are deleted and still in the files of the present version."""
        return sum(fragment.num_deletions for fragment in self._open().get_fragments())

    def tags(self) -> list[str]:
        return list(self._open().tags.list())


def _bytes_of(task: CompactionTask) -> int:
    fragments = json.loads(cast("Any", task).json())["task"]["fragments"]
    return sum(file["file_size_bytes"] or 0 for fragment in fragments for file in fragment["files"])
