"""The samples themselves: one Lance dataset for each dataset, written under the dataset's write lock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.contracts import Dataset, Label
from app.errors import NotFound, Unavailable
from app.store.lance_tables import compact_if_scattered, erase_deleted, open_session, pin, unpin
from app.store.locations import exists, join_location, remove_tree
from app.store.upkeep import TableUpkeep, Writing

SCHEMA = pa.schema(
    [
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("generation", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_pair", pa.string()),
        pa.field("label", pa.string()),  # canonical text; `label_number` says that the client sent a number
        pa.field("label_number", pa.bool_(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("weight", pa.float64()),
        pa.field("meta", pa.string()),  # a JSON object
    ]
)
WHOLE_NUMBERS_BELOW = 10**18
BATCH_ROWS = 65_536
COUNTS_KEPT, COUNTS_KEPT_ROWS = 1_000, 5_000


class StoredLabel(NamedTuple):
    """A label as it is stored: equal text means the same class, sent as a string or as a number."""

    text: str
    number: bool

    @classmethod
    def of(cls, label: Label) -> StoredLabel:
        """Raises ValueError for a number that is not finite, or a whole one of more than 18 digits."""
        if isinstance(label, str):
            return cls(label, number=False)
        if abs(label) < WHOLE_NUMBERS_BELOW:
            return cls(str(int(label)) if label == int(label) else repr(label), number=True)
        if not (isinstance(label, float) and math.isfinite(label)):
            raise ValueError("a label must be a finite number, and a whole one has at most 18 digits")
        return cls(repr(label), number=True)

    def value(self) -> Label:
        if not self.number:
            return self.text
        try:
            return int(self.text)
        except ValueError:
            return float(self.text)

    def order_key(self) -> tuple[bool, float, str]:
        """Numbers by value, then strings: the order that makes labels into class indices."""
        return (not self.number, float(self.text) if self.number else 0.0, self.text)


def quoted(text: str) -> str:
    """A string literal of the filter language."""
    return "'" + text.replace("'", "''") + "'"


class SampleStore:
    """Rows by ordinal, in versions: what a job reads does not change under it."""

    def __init__(self, data_url: str) -> None:
        self._data_url = data_url
        self._session = open_session()
        self._appending = open_session(appending=True)
        self._counts: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    def location(self, dataset: Dataset) -> str:
        return join_location(self._data_url, "datasets", f"{dataset.name}-{dataset.uid}.lance")

    def create(self, dataset: Dataset) -> None:
        """Makes the empty table of a dataset that nobody knows yet: two makers would overwrite each other."""
        try:
            table = lance.write_dataset(SCHEMA.empty_table(), self.location(dataset), mode="create")
            table.create_scalar_index("ordinal", "BTREE")
        except OSError as error:
            raise Unavailable(
                "service_unavailable", f"the sample store cannot be written: {error}"
            ) from error

    def restore(self, dataset: Dataset, rows: Iterator[pa.RecordBatch]) -> None:
        """Makes the table of a dataset with these rows in it."""
        reader = pa.RecordBatchReader.from_batches(SCHEMA, rows)
        table = lance.write_dataset(reader, self.location(dataset), mode="create")
        table.create_scalar_index("ordinal", "BTREE")

    def drop(self, dataset: Dataset) -> None:
        self._counts.pop(dataset.uid, None)
        remove_tree(self.location(dataset))

    def table(self, dataset: Dataset, version: int | None = None) -> lance.LanceDataset:
        """The rows as they are now, or as they were at a version.

        Raises:
            NotFound: the dataset was deleted meanwhile.
        """
        with self._opened(dataset, version) as table:
            return table

    @contextmanager
    def _opened(
        self, dataset: Dataset, version: int | None = None, *, session: Any = None
    ) -> Iterator[lance.LanceDataset]:
        """The table; tells a dataset that was deleted under its user from a store that does not answer."""
        try:
            yield lance.dataset(self.location(dataset), version=version, session=session or self._session)
        except (OSError, ValueError) as error:  # what Lance and Arrow raise for a file that is not there
            if not exists(join_location(self.location(dataset), "_versions")):
                detail = f"the samples of {dataset.name!r} are gone: the dataset was deleted meanwhile"
                raise NotFound("unknown_dataset", detail) from error
            if isinstance(error, OSError):
                raise Unavailable("service_unavailable", f"the sample store: {error}") from error
            raise

    def write(self, dataset: Dataset, rows: pa.Table, *, all_new: bool) -> None:
        """Stores rows by ordinal: appended when all are known to be new, else inserted or replaced."""
        with self._opened(dataset, session=self._appending if all_new else None) as table:
            if all_new:
                lance.write_dataset(rows, table, mode="append")
            else:
                merge = table.merge_insert("ordinal").when_matched_update_all().when_not_matched_insert_all()
                merge.execute(rows)

    def delete(self, dataset: Dataset, ordinal: int) -> None:
        with self._opened(dataset) as table:
            table.delete(f"ordinal = {ordinal}")

    def delete_many(self, dataset: Dataset, ordinals: Sequence[int]) -> None:
        with self._opened(dataset) as table:
            table.delete(f"ordinal IN ({','.join(map(str, ordinals))})")

    def erase_deleted(self, dataset: Dataset) -> None:
        """Takes deleted rows out of the files; only versions that a job reads hold them any more."""
        with self._opened(dataset) as table:
            erase_deleted(table)

    def compact_if_scattered(self, dataset: Dataset) -> bool:
        """Joins many small fragments and drops old versions; those that a job reads are tagged and stay."""
        with self._opened(dataset, session=self._appending) as table:
            return compact_if_scattered(table)

    def upkeep(self, dataset: Dataset, writing: Writing) -> TableUpkeep:
        return TableUpkeep(self.location(dataset), lambda: self.table(dataset), writing)

    # -- reading ---------------------------------------------------------------------------------------
    def by_ordinals(
        self,
        dataset: Dataset,
        ordinals: Sequence[int],
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Rows by ordinal; ordinals that are gone, or that `where` leaves out, are missing."""
        if not ordinals:
            return {}
        wanted = f"ordinal IN ({','.join(map(str, ordinals))})"
        wanted = wanted if where is None else f"{wanted} AND ({where})"
        names = None if columns is None else list({"ordinal", *columns})
        with self._opened(dataset) as table:
            rows = table.to_table(columns=names, filter=wanted)
        return {row["ordinal"]: row for row in rows.to_pylist()}

    def from_ordinal(
        self, dataset: Dataset, ordinal: int, limit: int, where: str | None = None
    ) -> list[dict[str, Any]]:
        """The next rows by ordinal, this one included."""
        condition = f"ordinal >= {ordinal}" if where is None else f"ordinal >= {ordinal} AND ({where})"
        with self._opened(dataset) as table:
            found = table.scanner(filter=condition, order_by=["ordinal"], limit=limit).to_table()
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def between(
        self, dataset: Dataset, first: int, stop: int, columns: Sequence[str]
    ) -> list[dict[str, Any]]:
        """The rows of ordinals `first` … `stop` − 1, in their order."""
        condition = f"ordinal >= {first} AND ordinal < {stop}"
        with self._opened(dataset) as table:
            found = table.to_table(columns=list(columns), filter=condition).sort_by("ordinal")
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def generations(self, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Ordinal and generation of every sample."""
        with self._opened(dataset) as table:
            found = table.to_table(columns=["ordinal", "generation"])
        return found["ordinal"].to_numpy(), found["generation"].to_numpy().astype(np.uint32)

    def classes(self, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int32]]:
        """Ordinal, generation and class of every sample: equal numbers are equal labels, -1 is none."""
        with self._opened(dataset) as table:
            found = table.to_table(columns=["ordinal", "generation", "label"])
        codes = found["label"].combine_chunks().dictionary_encode().indices.fill_null(-1)
        generations = found["generation"].to_numpy().astype(np.uint32)
        return found["ordinal"].to_numpy(), generations, codes.to_numpy().astype(np.int32)

    def batches(
        self, dataset: Dataset, columns: Sequence[str], where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """These columns of the rows as they are now, in no order."""
        with self._opened(dataset) as table:
            yield from table.to_batches(columns=list(columns), filter=where, batch_size=BATCH_ROWS)

    def previews(
        self, dataset: Dataset, ordinals: Sequence[int], characters: int
    ) -> dict[int, dict[str, Any]]:
        """Id, label, split and the beginning of the text, by ordinal."""
        if not ordinals:
            return {}
        plain = ["ordinal", "id", "label", "label_number", "split"]
        columns = {name: name for name in plain} | {"text": f"left(text, {characters})"}
        wanted = f"ordinal IN ({','.join(map(str, ordinals))})"
        with self._opened(dataset) as table:
            rows = table.to_table(columns=columns, filter=wanted).to_pylist()
        return {row["ordinal"]: row for row in rows}

    def version(self, dataset: Dataset) -> int:
        """Of the table: another one whenever something was written."""
        return int(self.table(dataset).version)

    def ids_that_begin(self, dataset: Dataset, start: str) -> list[str]:
        with self._opened(dataset) as table:
            found = table.to_table(columns=["id"], filter=f"starts_with(id, {quoted(start)})")
        ids: list[str] = found["id"].to_pylist()
        return ids

    def count(self, dataset: Dataset) -> int:
        with self._opened(dataset) as table:
            return int(table.count_rows())

    def has(self, dataset: Dataset, where: str) -> bool:
        """Whether there is a row of which this is true."""
        with self._opened(dataset) as table:
            return len(table.to_table(columns=["ordinal"], filter=where, limit=1)) > 0

    def highest_ordinal(self, dataset: Dataset) -> int:
        """-1 where there is no sample."""
        return int(self.generations(dataset)[0].max(initial=-1))

    def counts(self, dataset: Dataset) -> list[dict[str, Any]]:
        """Rows by split and label: `{"split", "label", "label_number", "count_all"}`; kept until the table
        changes."""
        with self._opened(dataset) as table:
            kept = self._counts.get(dataset.uid)
            if kept is not None and kept[0] == table.version:
                return kept[1]
            columns = table.to_table(columns=["split", "label", "label_number"])
        groups = columns.group_by(["split", "label", "label_number"]).aggregate([([], "count_all")])
        rows: list[dict[str, Any]] = groups.to_pylist()
        if len(rows) <= COUNTS_KEPT_ROWS:
            if len(self._counts) >= COUNTS_KEPT:
                self._counts.clear()
            self._counts[dataset.uid] = (table.version, rows)
        return rows

    def splits_of_groups(self, dataset: Dataset, groups: Sequence[str]) -> dict[str, list[str]]:
        """In which splits the samples of each group are; groups without samples are missing."""
        with self._opened(dataset) as table:
            columns = table.to_table(columns=["group", "split"])
        found = columns.filter(pc.is_in(columns["group"], pa.array(groups, pa.string())))
        rows = found.group_by("group").aggregate([("split", "distinct")]).to_pylist()
        return {row["group"]: sorted(row["split_distinct"]) for row in rows}

    def pin(self, dataset: Dataset, tag: str) -> int:
        """Keeps the present version from clean-up under a name; the same name gives the same version."""
        with self._opened(dataset) as table:
            return pin(table, tag)

    def unpin(self, dataset: Dataset, tag: str) -> None:
        with self._opened(dataset) as table:
            unpin(table, tag)

    def scan(self, dataset: Dataset, version: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._opened(dataset, version) as table:
            yield from table.to_batches(columns=list(columns), batch_size=8192)
