"""A Lance table of its own beside a dataset's samples, made with its first rows.

No part of it is in Redis, so nothing has to be rebuilt. It is written under the dataset's write lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import lance
import pyarrow as pa

from app.contracts import Dataset
from app.errors import NotFound, Unavailable
from app.store.lance_tables import (
    clean_up,
    compact_if_scattered,
    erase_deleted,
    open_session,
    pin,
    unpin,
)
from app.store.locations import exists, join_location, remove_tree

KEEP_VERSIONS_FOR = timedelta(hours=1)


class SideTable:
    """Rows by one key column, in versions."""

    def __init__(self, data_url: str, name: str, schema: pa.Schema, key: str) -> None:
        self.schema = schema
        self._data_url = data_url
        self._name = name
        self._key = key
        self._session = open_session()

    def location(self, dataset: Dataset) -> str:
        return join_location(self._data_url, "datasets", f"{dataset.name}-{dataset.uid}.{self._name}.lance")

    # -- writing: the caller holds the dataset's write lock ----------------------------------------------
    def insert(self, dataset: Dataset, rows: pa.Table) -> int:
        """Stores the rows whose key is not there yet; how many those were. No key may be there twice."""
        with self._opened(dataset) as table:
            if table is None:
                self._create(dataset, rows)
                return int(rows.num_rows)
            merge = table.merge_insert(self._key).when_not_matched_insert_all()
            inserted = int(merge.execute(rows.cast(self.schema))["num_inserted_rows"])
        self._compact(dataset)
        return inserted

    def upsert(self, dataset: Dataset, rows: pa.Table) -> None:
        """Stores rows, in the place of those with the same key."""
        with self._opened(dataset) as table:
            if table is None:
                self._create(dataset, rows)
                return
            merge = table.merge_insert(self._key).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows.cast(self.schema))
        self._compact(dataset)

    def delete(self, dataset: Dataset, where: str) -> int:
        """Deletes rows for good: no version but those that a running job reads holds them any more."""
        with self._opened(dataset) as table:
            count = 0 if table is None else int(table.count_rows(where))
            if table is not None and count:
                table.delete(where)
                erase_deleted(table)
        return count

    def clean_up(self, dataset: Dataset, older_than: timedelta = KEEP_VERSIONS_FOR) -> None:
        """Drops versions that were kept for a job that has ended since."""
        with self._opened(dataset) as table:
            if table is not None:
                clean_up(table, older_than)

    def restore(self, dataset: Dataset, rows: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._create(dataset, pa.RecordBatchReader.from_batches(schema, rows))

    def drop(self, dataset: Dataset) -> None:
        remove_tree(self.location(dataset))

    def _create(self, dataset: Dataset, rows: pa.Table | pa.RecordBatchReader) -> None:
        table = lance.write_dataset(rows, self.location(dataset), mode="create")
        table.create_scalar_index(self._key, "BTREE")

    def _compact(self, dataset: Dataset) -> None:
        with self._opened(dataset) as table:
            if table is not None:
                compact_if_scattered(table)

    # -- reading -----------------------------------------------------------------------------------------
    def read(
        self,
        dataset: Dataset,
        columns: Sequence[str],
        *,
        where: str | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """The rows as they are, or as they were at a version; version 0 is that of a table without rows."""
        with self._opened(dataset, version) as table:
            if table is None or version == 0:
                return self.schema.empty_table().select(list(columns))
            return table.to_table(columns=list(columns), filter=where)

    def count(self, dataset: Dataset, where: str | None = None) -> int:
        with self._opened(dataset) as table:
            return 0 if table is None else int(table.count_rows(where))

    def metadata(self, dataset: Dataset) -> dict[bytes, bytes]:
        """What the table was made with, beside its rows."""
        with self._opened(dataset) as table:
            return {} if table is None else dict(table.schema.metadata or {})

    def pin(self, dataset: Dataset, tag: str) -> int:
        """Keeps the present version from clean-up under a name; 0 where there are no rows yet."""
        with self._opened(dataset) as table:
            return 0 if table is None else pin(table, tag)

    def unpin(self, dataset: Dataset, tag: str) -> None:
        with self._opened(dataset) as table:
            if table is not None:
                unpin(table, tag)

    def scan(self, dataset: Dataset, version: int) -> Iterator[pa.RecordBatch]:
        """Every row at a version, in batches."""
        with self._opened(dataset, version) as table:
            if table is not None:
                yield from table.to_batches(columns=self.schema.names, batch_size=8192)

    @contextmanager
    def _opened(self, dataset: Dataset, version: int | None = None) -> Iterator[lance.LanceDataset | None]:
        """The table; None where nothing has been stored yet."""
        versions = join_location(self.location(dataset), "_versions")
        there = exists(versions)
        try:
            if there:
                yield lance.dataset(self.location(dataset), version or None, session=self._session)
            else:
                yield None
        except (OSError, ValueError) as error:  # what Lance and Arrow raise for a file that is not there
            if there and not exists(versions):
                detail = f"the {self._name} of {dataset.name!r} are gone: the dataset was deleted meanwhile"
                raise NotFound("unknown_dataset", detail) from error
            if isinstance(error, OSError):
                raise Unavailable("service_unavailable", f"the {self._name} store: {error}") from error
            raise
