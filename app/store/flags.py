"""Flags of samples: what a clean job found, a Parquet file among its results.

The dataset's meta hash names the newest clean job and the one before. A job is named just before it ends; its
flags hold once it has succeeded, and until then, or if it never does, those of the job before it.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import redis
from numpy.typing import NDArray

from app.contracts import Dataset, JobState, Split
from app.errors import Damaged
from app.store.keys import Keys
from app.store.results import ResultStore

FLAGS = "flags.parquet"
KEPT_IN_MEMORY = 8
_COLUMNS = ["ordinal", "generation", "split", "bits"]
_SPLITS = [split.value for split in Split]
_NO_SAMPLE = np.uint32(2**32 - 1)


@dataclass(frozen=True)
class Flags:
    """What one clean job found, by ordinal, (m,) each; an ordinal beyond m was not there yet.

    generations: of the content that was checked. splits: positions in `Split`.
    """

    job: str
    generations: NDArray[np.uint32]
    bits: NDArray[np.uint32]
    splits: NDArray[np.uint8]

    def of(
        self, ordinals: NDArray[np.int64], generations: NDArray[np.uint32]
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """(n,) flags, 0 where there are none, and whether the sample was checked as it is now."""
        inside = ordinals < len(self.bits)
        if not inside.any():
            return np.zeros(len(ordinals), np.uint32), inside
        where = np.where(inside, ordinals, 0)
        checked = inside & (self.generations[where] == generations)
        return np.where(checked, self.bits[where], np.uint32(0)), checked


class FlagStore:
    def __init__(self, client: redis.Redis, keys: Keys, data_url: str) -> None:
        self._client = client
        self._keys = keys.jobs
        self._results = ResultStore(data_url)
        self._held: OrderedDict[str, Flags] = OrderedDict()
        self._lock = threading.Lock()

    def job_in_force(self, dataset: Dataset) -> str | None:
        """The clean job whose flags hold."""
        for job_id in dataset.flags:
            state = cast("bytes | None", self._client.hget(self._keys.record(job_id), "state"))
            if state is not None and state.decode() == JobState.SUCCEEDED.value:
                return job_id
        return None

    def in_force(self, dataset: Dataset) -> Flags | None:
        """Raises Damaged."""
        job_id = self.job_in_force(dataset)
        return None if job_id is None else self.of_job(dataset.uid, job_id)

    def of_job(self, dataset_uid: str, job_id: str) -> Flags:
        """What a job found; its file never changes, so it is read once.

        Raises:
            Damaged: the file is gone, or no such file.
        """
        with self._lock:
            if job_id not in self._held:
                self._held[job_id] = self._read(dataset_uid, job_id)
            self._held.move_to_end(job_id)
            while len(self._held) > KEPT_IN_MEMORY:
                self._held.popitem(last=False)
            return self._held[job_id]

    def write(self, dataset_uid: str, job_id: str, table: pa.Table) -> None:
        """A row for each sample: at least `ordinal`, `generation`, `split` and `bits`."""
        with self._results.of_job(dataset_uid, job_id).writing(FLAGS) as stream:
            pq.write_table(table, stream, compression="zstd")

    def forget_all_but(self, dataset_uid: str, kept: set[str]) -> None:
        """Removes the flags of clean jobs that cannot hold any more; their reports stay."""
        for name in self._results.folder(dataset_uid).names():
            job_id, _, file = name.partition("/")
            if file == FLAGS and job_id not in kept:
                self._results.of_job(dataset_uid, job_id).remove(FLAGS)

    def _read(self, dataset_uid: str, job_id: str) -> Flags:
        folder = self._results.of_job(dataset_uid, job_id)
        try:
            content = folder.read(FLAGS)
            if content is None:
                raise FileNotFoundError(FLAGS)
            return _flags(job_id, pq.read_table(io.BytesIO(content), columns=_COLUMNS))
        except (OSError, ValueError, KeyError) as error:
            detail = f"the flags of clean job {job_id} cannot be read: {error}"
            remedy = "Run a clean job again: its flags hold in place of these."
            raise Damaged("damaged_file", detail, remedy=remedy) from error


def _flags(job_id: str, table: pa.Table) -> Flags:
    ordinals = table["ordinal"].to_numpy()
    size = int(ordinals.max(initial=-1)) + 1
    flags = Flags(job_id, np.full(size, _NO_SAMPLE), np.zeros(size, np.uint32), np.zeros(size, np.uint8))
    flags.generations[ordinals] = table["generation"].to_numpy()
    flags.bits[ordinals] = table["bits"].to_numpy()
    splits = pc.index_in(table["split"], value_set=pa.array(_SPLITS))
    flags.splits[ordinals] = splits.to_numpy()
    return flags
