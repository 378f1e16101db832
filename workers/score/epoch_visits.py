"""The visits of the epoch that runs, and the files of those that have ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.store.deltas import VISIT, LineageDeltas, visit_rows
from app.store.records import Visits


class EpochVisits:
    """Keeps an epoch's visits until it ends, then stores them as one file (`app.store.deltas`).

    A checkpoint holds what is kept, and the names of the files so far: whoever resumes in the middle of an
    epoch writes that epoch's file whole, with each visit once.
    """

    def __init__(
        self, deltas: LineageDeltas, *, run: int, fence: int, job: str, state: dict[str, Any] | None = None
    ) -> None:
        held = state or {"epoch": 0, "files": [], "visits": torch.empty(0, dtype=torch.uint8)}
        self._deltas = deltas
        self._run = run
        self._fence = fence
        self._job = job
        self._epoch = int(held["epoch"])
        self._files: list[str] = list(held["files"])
        self._parts: list[NDArray[np.void]] = [np.frombuffer(held["visits"].numpy().tobytes(), dtype=VISIT)]

    def state(self) -> dict[str, Any]:
        visits = torch.from_numpy(np.frombuffer(bytearray(self._kept().tobytes()), dtype=np.uint8))
        return {"epoch": self._epoch, "files": list(self._files), "visits": visits}

    def add(self, epoch: int, visits: Visits, *, at: int) -> None:
        self._epoch = epoch
        self._parts.append(visit_rows(visits, at=at))

    def end_epoch(self) -> None:
        """Stores the epoch's file, before any checkpoint that passes it."""
        self._files.append(self._deltas.write_epoch(self._run, self._epoch, self._fence, self._kept()))
        self._parts.clear()

    def close(self, shards: Iterable[int]) -> None:
        """Ends the run, after its final write to these shards."""
        self._deltas.close_run(self._run, self._fence, job=self._job, epochs=self._files, shards=shards)

    def end_broken_epoch(self) -> None:
        """An epoch that broke off counts as far as it went."""
        if any(len(part) for part in self._parts):
            self.end_epoch()

    def _kept(self) -> NDArray[np.void]:
        return np.concatenate(self._parts) if self._parts else np.empty(0, dtype=VISIT)
