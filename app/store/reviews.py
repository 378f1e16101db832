"""Review verdicts: beside each dataset's samples a Lance table of its own, made with the first review.

No part of it is in Redis, so nothing has to be rebuilt. It is written under the dataset's write lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import lance
import pyarrow as pa

from app.contracts import Dataset
from app.errors import NotFound, Unavailable
from app.store.lance_tables import compact_if_scattered, open_session, pin, unpin
from app.store.locations import exists, join_location, remove_tree
from app.store.review_log import SCHEMA, WITHOUT_TEXT, Review
from app.store.upkeep import TableUpkeep, Writing
from app.store.verdicts import Verdicts, no_verdicts, verdicts_in_force

ORDINALS_A_CALL = 2_000
DATASETS_HELD = 16


class ReviewStore:
    def __init__(self, data_url: str) -> None:
        self._data_url = data_url
        self._session = open_session()
        self._in_force: dict[str, tuple[int, Verdicts]] = {}

    def location(self, dataset: Dataset) -> str:
        return join_location(self._data_url, "datasets", f"{dataset.name}-{dataset.uid}.reviews.lance")

    # -- writing: the caller holds the dataset's write lock ----------------------------------------------
    def append(self, dataset: Dataset, review: Review) -> Review:
        """Stores a review under the next sequence number: rows are never taken out, so it is their count."""
        with self._opened(dataset) as table:
            numbered = replace(review, sequence=1 if table is None else table.count_rows() + 1)
            rows = pa.Table.from_pylist([numbered.row()], schema=SCHEMA)
            if table is None:
                self._create(dataset, rows)
            else:
                compact_if_scattered(lance.write_dataset(rows, table, mode="append"))
        return numbered

    def forget_texts(self, dataset: Dataset, ordinals: Sequence[int]) -> None:
        """Takes ids and labels out of the reviews of samples that are deleted."""
        with self._opened(dataset) as table:
            if table is None:
                return
            for start in range(0, len(ordinals), ORDINALS_A_CALL):
                of_these = _of_ordinals(ordinals[start : start + ORDINALS_A_CALL])
                held = table.to_table(filter=f"{of_these} AND id IS NOT NULL").to_pylist()
                if held:
                    rows = pa.Table.from_pylist([row | WITHOUT_TEXT for row in held], schema=SCHEMA)
                    table.merge_insert("sequence").when_matched_update_all().execute(rows)

    def restore(self, dataset: Dataset, rows: Iterator[pa.RecordBatch]) -> None:
        """Makes the table of a dataset with these rows in it."""
        self._create(dataset, pa.RecordBatchReader.from_batches(SCHEMA, rows))

    def drop(self, dataset: Dataset) -> None:
        remove_tree(self.location(dataset))
        self._in_force.pop(dataset.uid, None)

    def _create(self, dataset: Dataset, rows: pa.Table | pa.RecordBatchReader) -> None:
        table = lance.write_dataset(rows, self.location(dataset), mode="create")
        table.create_scalar_index("ordinal", "BTREE")

    # -- reading -----------------------------------------------------------------------------------------
    def in_force(self, dataset: Dataset) -> Verdicts:
        """Of each sample, the last verdict that was not taken back; kept until the table changes."""
        with self._opened(dataset) as table:
            if table is None:
                return no_verdicts()
            kept = self._in_force.get(dataset.uid)
            if kept is None or kept[0] != table.version:
                kept = (table.version, verdicts_in_force(table.to_table(filter="label IS NOT NULL")))
                if len(self._in_force) >= DATASETS_HELD:
                    self._in_force.clear()
                self._in_force[dataset.uid] = kept
            return kept[1]

    def version(self, dataset: Dataset) -> int:
        """Of the table: another one whenever something was written; 0 where nothing was."""
        with self._opened(dataset) as table:
            return 0 if table is None else int(table.version)

    def of_sample(self, dataset: Dataset, ordinal: int) -> list[Review]:
        """A sample's reviews, oldest first."""
        return self._reviews(dataset, f"ordinal = {ordinal}")

    def after(self, dataset: Dataset, sequence: int, limit: int) -> list[Review]:
        """The reviews that follow a sequence number, 0 for all, oldest first."""
        return self._reviews(dataset, f"sequence > {sequence} AND sequence <= {sequence + limit}")

    def replacing(self, dataset: Dataset, ordinals: Sequence[int] | None) -> dict[int, Review]:
        """Of each of these samples, or of all, the last review that gives it another label."""
        if ordinals is not None and not ordinals:
            return {}
        where = "new_label IS NOT NULL"
        where += "" if ordinals is None else f" AND {_of_ordinals(ordinals)}"
        return {review.ordinal: review for review in self._reviews(dataset, where)}

    def _reviews(self, dataset: Dataset, where: str) -> list[Review]:
        with self._opened(dataset) as table:
            if table is None:
                return []
            found = table.to_table(filter=where).sort_by("sequence")
        return [Review.of(row) for row in found.to_pylist()]

    # -- upkeep ------------------------------------------------------------------------------------------
    def upkeep(self, dataset: Dataset, writing: Writing) -> TableUpkeep | None:
        """None where there are no reviews."""
        location = self.location(dataset)
        if not exists(join_location(location, "_versions")):
            return None
        return TableUpkeep(location, lambda: lance.dataset(location, session=self._session), writing)

    # -- backup ------------------------------------------------------------------------------------------
    def pin(self, dataset: Dataset, tag: str) -> int | None:
        """Keeps the present version from clean-up under a name; None where there are no reviews."""
        with self._opened(dataset) as table:
            return None if table is None else pin(table, tag)

    def unpin(self, dataset: Dataset, tag: str) -> None:
        with self._opened(dataset) as table:
            if table is not None:
                unpin(table, tag)

    def scan(self, dataset: Dataset, version: int | None = None) -> Iterator[pa.RecordBatch]:
        """Every row, at a version or as of now, in batches."""
        with self._opened(dataset, version) as table:
            if table is not None:
                yield from table.to_batches(columns=SCHEMA.names, batch_size=8192)

    @contextmanager
    def _opened(self, dataset: Dataset, version: int | None = None) -> Iterator[lance.LanceDataset | None]:
        """The table; None where nothing has been reviewed yet."""
        versions = join_location(self.location(dataset), "_versions")
        there = exists(versions)
        try:
            yield lance.dataset(self.location(dataset), version, session=self._session) if there else None
        except (OSError, ValueError) as error:  # what Lance and Arrow raise for a file that is not there
            if there and not exists(versions):
                detail = f"the reviews of {dataset.name!r} are gone: the dataset was deleted meanwhile"
                raise NotFound("unknown_dataset", detail) from error
            if isinstance(error, OSError):
                raise Unavailable("service_unavailable", f"the review store: {error}") from error
            raise


def _of_ordinals(ordinals: Sequence[int]) -> str:
    return f"ordinal IN ({','.join(map(str, ordinals))})"
