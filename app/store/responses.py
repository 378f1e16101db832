"""The mean projected gradients of a lineage's samples (`response=vector`): one Parquet file for each run.

Too wide for Redis, and read by whole columns: they lie under GRADSIFT_DATA_URL. A file holds everything up to
the end of its run and is never changed, so a run that is repeated after a crash starts from the file that it
started from before.
"""

from __future__ import annotations

import re
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from app.store.artifacts import Folder
from app.store.locations import filesystem, is_url, join_location, remove_tree

FOLDER = "responses"
_NAME = re.compile(r"run-(\d+)-dim-(\d+)\.parquet")


class ResponseStore:
    def __init__(self, data_url: str) -> None:
        self._data_url = data_url
        self._in_place = is_url(data_url)  # object stores show an object only once it is complete

    def write(self, dataset_uid: str, lineage: str, run: int, dim: int, table: pa.Table) -> str:
        """Writes the file of a run; its place, relative to GRADSIFT_DATA_URL.

        The file that the run went on from stays; those before it, which nobody needs, are removed.
        """
        name = f"run-{run:06}-dim-{dim}.parquet"
        store, folder = filesystem(join_location(self._data_url, FOLDER, dataset_uid, lineage))
        store.create_dir(folder, recursive=True)
        target = f"{folder}/{name}"
        written = target if self._in_place else f"{target}.{uuid.uuid4().hex}.part"
        pq.write_table(table, written, filesystem=store, compression="zstd")
        if written != target:
            store.move(written, target)
        before = self._runs(dataset_uid, lineage, dim, below=run)
        for old in before[:-1]:
            store.delete_file(f"{folder}/run-{old:06}-dim-{dim}.parquet")
        return "/".join((FOLDER, dataset_uid, lineage, name))

    def read_before(self, dataset_uid: str, lineage: str, run: int, dim: int) -> pa.Table | None:
        """What the last run before this one left, or None."""
        runs = self._runs(dataset_uid, lineage, dim, below=run)
        if not runs:
            return None
        store, folder = filesystem(join_location(self._data_url, FOLDER, dataset_uid, lineage))
        return pq.read_table(f"{folder}/run-{runs[-1]:06}-dim-{dim}.parquet", filesystem=store)

    def folder(self, dataset_uid: str) -> Folder:
        """All of a dataset, for those who copy it: `<lineage>/run-….parquet`."""
        return Folder(join_location(self._data_url, FOLDER, dataset_uid))

    def drop(self, dataset_uid: str) -> None:
        """Removes all of a dataset."""
        remove_tree(join_location(self._data_url, FOLDER, dataset_uid))

    @staticmethod
    def run_of(file: str) -> int | None:
        """The run that a file of a lineage belongs to."""
        found = _NAME.fullmatch(file)
        return None if found is None else int(found[1])

    def _runs(self, dataset_uid: str, lineage: str, dim: int, *, below: int) -> list[int]:
        store, folder = filesystem(join_location(self._data_url, FOLDER, dataset_uid, lineage))
        held = store.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        names = [_NAME.fullmatch(file.base_name) for file in held]
        runs = [int(name[1]) for name in names if name is not None and int(name[2]) == dim]
        return sorted(run for run in runs if run < below)
