"""The score book of one run: the records of a lineage, held by the one worker that owns them.

The worker merges each visit in memory and writes whole shards, with a ledger in each. A replay after a crash
starts from records that belong to the very step it starts from, so no visit counts twice; a server that lost
its tail gets the shards again; a worker that was replaced is refused by its fence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from app.errors import StaleWorker, Unavailable
from app.store.deltas import LAST_STEP
from app.store.layout import RECORD, SHARD_RECORDS
from app.store.records import Ledger, Records, Visits, empty_records, merge_visits
from app.store.scores import ScoreStore, shard_count
from app.store.state import State

FINAL_WRITES = 5


class ScoreBook:
    """The records of one run, as they stand after its last step, and which of them Redis has yet to get.

    Args:
        fence: the fencing token of the worker's claim.
        run: the number of the job's run within the lineage.
        records: the lineage's records as the run begins or resumes.
        hold: registers the fence again, or raises StaleWorker if the job is another worker's: a server that
            lost its tail has forgotten who owns the dataset.
    """

    def __init__(
        self,
        state: State,
        *,
        dataset_uid: str,
        lineage: str,
        fence: int,
        run: int,
        records: Records,
        hold: Callable[[], None],
    ) -> None:
        self._state = state
        self._scores: ScoreStore = state.scores
        self._uid = dataset_uid
        self._lineage = lineage
        self._fence = fence
        self._run = run
        self._hold = hold
        self.records = _whole_shards(records)
        self._touched: set[int] = set()
        self._dirty: set[int] = set()

    @property
    def touched(self) -> frozenset[int]:
        """The shards that the final write covers."""
        return frozenset(self._touched)

    def add(self, visits: Visits, *, at: int | NDArray[np.uint32]) -> None:
        """Merges one step's visits, made at this unix time, or each at its own.

        Raises:
            Unrecordable: and then none of them is merged.
        """
        shards = set(np.unique(visits.ordinals // SHARD_RECORDS).tolist())
        merge_visits(self.records, visits.ordinals, visits, at=at)
        self._dirty |= shards
        self._touched |= shards

    def touch(self, shards: Iterable[int]) -> None:
        """Counts these shards among those that the final write covers."""
        self._touched |= set(shards)

    def flush(self, step: int) -> None:
        """Writes the shards that changed since the last flush, as of this step.

        Raises:
            StaleWorker: another worker has taken the dataset over.
        """
        self._write(self._dirty, step)
        self._dirty.clear()

    def write_all(self, step: int) -> None:
        """Writes every shard of the run as of this step; bears repetition.

        Raises:
            StaleWorker: another worker has taken the dataset over.
        """
        self._write(self._touched, step)
        self._dirty.clear()

    def close(self) -> None:
        """Writes every shard of the run for good; returns when all of them are on the server's disk.

        Raises:
            StaleWorker: another worker has taken the dataset over.
            Unavailable: the server keeps losing what it is given.
        """
        final = Ledger(self._fence, self._run, LAST_STEP)
        missing = set(self._touched)
        for _ in range(FINAL_WRITES):
            self._write(missing, LAST_STEP)
            self._state.make_durable()
            # Read back after the wait: a server that restarted in between has lost what it had not synced.
            held = self._scores.ledgers(self._uid, self._lineage, self._touched)
            missing = {number for number in self._touched if held.get(number) != final}
            if not missing:
                return
        raise Unavailable("service_unavailable", f"Redis did not keep {len(missing)} score shards")

    def _write(self, numbers: set[int], step: int) -> None:
        shards = {n: self.records[n * SHARD_RECORDS : (n + 1) * SHARD_RECORDS] for n in numbers}
        ledger = Ledger(self._fence, self._run, step)
        try:
            self._scores.write_shards(self._uid, self._lineage, ledger, shards)
        except StaleWorker:
            self._hold()
            self._scores.write_shards(self._uid, self._lineage, ledger, shards)


def _whole_shards(records: Records) -> Records:
    whole = empty_records(shard_count(len(records)) * SHARD_RECORDS)
    whole[: len(records)] = records
    return whole


def pack_records(records: Records) -> bytes:
    return records.tobytes()


def unpack_records(blob: bytes | memoryview, at_least: int) -> Records:
    """Records as they were packed, with empty ones behind them up to `at_least`."""
    held = np.frombuffer(blob, dtype=RECORD)
    records = empty_records(max(at_least, len(held)))
    records[: len(held)] = held
    return records
