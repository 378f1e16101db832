"""What the samples of a job looked like to its model: `results/<dataset uid>/<job id>/explanation/…`.

samples.lance   a row for each train and validation sample of the job
head.npy        (classes, width + 1): how the optimiser stretches gradients of the model's last layer
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Mapping, Set
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.errors import Unavailable
from app.store.artifacts import Folder
from app.store.locations import exists, join_location
from app.store.upkeep import TableUpkeep

FOLDER = "explanation"
ROWS_A_BATCH = 4_096
_HEAD = "head.npy"
_PLAIN = {"ordinal": pa.int64(), "generation": pa.int64(), "label": pa.int32(), "validation": pa.bool_()}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SeenSamples:
    """n samples: arrays (n,). label: class index. wide: (n, width) each, of these: `embedding` float16, where
    the text lay before training; `hidden` float16, what the last layer read; `logits` float32."""

    ordinal: NDArray[np.int64]
    generation: NDArray[np.int64]
    label: NDArray[np.int32]
    validation: NDArray[np.bool_]
    wide: Mapping[str, NDArray[Any]]

    def batches(self) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.ordinal), ROWS_A_BATCH):
            part = slice(start, start + ROWS_A_BATCH)
            plain = [pa.array(getattr(self, name)[part], type=kind) for name, kind in _PLAIN.items()]
            wide = [
                pa.FixedSizeListArray.from_arrays(pa.array(values[part].ravel()), values.shape[1])
                for values in self.wide.values()
            ]
            yield pa.record_batch([*plain, *wide], schema=self.schema)

    @property
    def schema(self) -> pa.Schema:
        wide = {
            name: pa.list_(pa.from_numpy_dtype(values.dtype), values.shape[1])
            for name, values in self.wide.items()
        }
        return pa.schema({**_PLAIN, **wide})


class Explanation:
    """Of one job. Reading it raises Unavailable where the storage does not answer."""

    def __init__(self, results: Folder) -> None:
        self._folder = Folder(join_location(results.location, FOLDER))
        self._samples = join_location(self._folder.location, "samples.lance")

    def write(self, samples: SeenSamples, head: Floats | None) -> None:
        """Bears repetition."""
        reader = pa.RecordBatchReader.from_batches(samples.schema, samples.batches())
        try:
            mode = "overwrite" if self._written() else "create"
            table = lance.write_dataset(reader, self._samples, mode=mode)
            table.create_scalar_index("ordinal", "BTREE")
        except OSError as error:
            if "No space left" in str(error):  # Lance says so in words alone
                raise OSError(errno.ENOSPC, str(error)) from error
            raise
        if head is not None:
            buffer = io.BytesIO()
            np.save(buffer, head, allow_pickle=False)
            self._folder.write(_HEAD, buffer.getbuffer())

    def remove(self) -> None:
        self._folder.remove_all()

    def forget(self, ordinals: Set[int], older_than: timedelta) -> bool:
        """Deletes what it says of these samples; whether its files still hold any of it."""
        table = self.open()
        if table is None:
            return False
        where = f"ordinal IN ({','.join(map(str, ordinals))})"
        if table.count_rows(filter=where):
            table.delete(where)
        upkeep = TableUpkeep(self._samples, lambda: lance.dataset(self._samples), nullcontext)
        if upkeep.deletions():
            upkeep.purge()
        upkeep.drop_versions(older_than)
        return any(
            lance.dataset(self._samples, version).count_rows(filter=where) for version in upkeep.versions()
        )

    def open(self) -> lance.LanceDataset | None:
        """None where the job left none, or its version of the sets is no longer kept."""
        if not self._written():
            return None
        try:
            return lance.dataset(self._samples)
        except (OSError, ValueError) as error:
            raise Unavailable("service_unavailable", f"the explanations: {error}") from error

    def _written(self) -> bool:
        return exists(join_location(self._samples, "_versions"))

    def head(self) -> Floats | None:
        content = self._folder.read(_HEAD)
        return None if content is None else np.load(io.BytesIO(content), allow_pickle=False)


def row_of(table: lance.LanceDataset, ordinal: int) -> dict[str, Any] | None:
    """Plain values, and a float32 array for each wide column."""
    found = table.to_table(filter=f"ordinal = {ordinal}")
    if not found.num_rows:
        return None
    return {
        name: _matrix(found[name])[0] if name not in _PLAIN else found[name][0].as_py()
        for name in found.column_names
    }


def nearest_rows(
    table: lance.LanceDataset, column: str, vector: Floats, count: int, *, but: int
) -> list[tuple[int, int, float]]:
    """Ordinal, generation and cosine of the train samples whose `column` lies nearest, `but` left out."""
    found = table.to_table(
        columns=["ordinal", "generation", "_distance"],
        nearest={"column": column, "q": vector.astype(np.float16), "k": count, "metric": "cosine"},
        filter=f"validation = false AND ordinal != {but}",
        prefilter=True,
    )
    rows = found.to_pylist()
    return [(row["ordinal"], row["generation"], 1.0 - row["_distance"]) for row in rows]


def validation_rows(table: lance.LanceDataset) -> Iterator[dict[str, NDArray[Any]]]:
    """The validation samples, some at a time: `ordinal`, `generation`, `label`, `hidden`, `logits`."""
    columns = ["ordinal", "generation", "label", "hidden", "logits"]
    for batch in table.to_batches(columns=columns, filter="validation = true", batch_size=ROWS_A_BATCH):
        if batch.num_rows:
            yield {
                name: batch[name].to_numpy() if name in _PLAIN else _matrix(batch[name]) for name in columns
            }


def _matrix(column: pa.ChunkedArray | pa.Array) -> Floats:
    """(n, width) of a column of lists."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = flat.flatten().to_numpy(zero_copy_only=False)
    matrix: Floats = values.reshape(len(flat), -1).astype(np.float32)
    return matrix
