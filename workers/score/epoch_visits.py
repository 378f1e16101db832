"""The visits of the epoch that runs, and the files of those that have ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.store.deltas import VISIT, LineageDeltas, visit_rows
from app.store.records import Visits
from workers.score.checkpoint import as_tensor


class EpochVisits:
    """Keeps an epoch's visits until it ends, then stores them as one file (`app.store.deltas`).

    A checkpoint holds what is kept, and the names of the files so far: whoever resumes in the middle of an
    epoch writes that epoch's file whole, with each visit once.
    """

    def __init__(
        self, deltas: LineageDeltas, *, run: int, fence: int, job: str, state: dict[str, Any] | None = None
    ) -> None:
        self._deltas = deltas
        self._run = run
        self._fence = fence
        self._job = job
        self._epoch = 0
        self._files: list[str] = []
        self._parts: list[NDArray[np.void]] = []
        if state is not None:
            self.load_state(state)

    def load_state(self, state: dict[str, Any]) -> None:
        self._epoch = int(state["epoch"])
        self._files = list(state["files"])
        self._parts = [np.frombuffer(state["visits"].numpy().tobytes(), dtype=VISIT)]

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "files": list(self._files), "visits": as_tensor(self.kept().tobytes())}

    def add(self, epoch: int, visits: Visits, *, at: int) -> None:
        self._epoch = epoch
        self._parts.append(visit_rows(visits, at=at))

    def end_epoch(self) -> None:
        """Stores the epoch's file, before any checkpoint that passes it."""
        self._files.append(self._deltas.write_epoch(self._run, self._epoch, self._fence, self.kept()))
        self._parts.clear()

    def close(self, shards: Iterable[int]) -> None:
        """Ends the run, after its final write to these shards."""
        self._deltas.close_run(self._run, self._fence, job=self._job, epochs=self._files, shards=shards)

    def forget(self) -> None:
        """Drops the visits of an epoch that is not to count."""
        self._parts.clear()

    def end_broken_epoch(self) -> None:
        """An epoch that broke off counts as far as it went."""
        if any(len(part) for part in self._parts):
            self.end_epoch()

    def kept(self) -> NDArray[np.void]:
        """The visits that are not stored yet, of dtype VISIT."""
        return np.concatenate(self._parts) if self._parts else np.empty(0, dtype=VISIT)
