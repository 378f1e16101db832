"""Where a run can start again: training state and score records of the very same step, in one file."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from app.logs import get_logger
from app.store.artifacts import ArtifactStore
from app.store.records import Records
from workers.score.book import pack_records, unpack_records

CHECKPOINT = "checkpoint.pt"
BASE = "base.records"
COST_SHARE = 20
"""A checkpoint is written at most so often that it costs a twentieth of the time."""
log = get_logger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """training: of the job's run, from 0. step: over all of its runs. books: see `Books.state`."""

    training: dict[str, Any]
    records: Records
    run: int
    step: int
    books: dict[str, Any]


class Checkpoints:
    """The one checkpoint of a job, replaced whole, and the records that the job found when it began."""

    def __init__(self, artifacts: ArtifactStore, interval_seconds: float) -> None:
        self._artifacts = artifacts
        self._interval = interval_seconds
        self._written = time.monotonic()
        self._cost = 0.0

    def due(self) -> bool:
        return time.monotonic() - self._written >= max(self._interval, COST_SHARE * self._cost)

    def save(self, checkpoint: Checkpoint) -> None:
        held = {
            "training": checkpoint.training,
            "records": as_tensor(pack_records(checkpoint.records)),
            "run": checkpoint.run,
            "step": checkpoint.step,
            "books": checkpoint.books,
        }
        self.write_if_there_is_room(CHECKPOINT, held, step=checkpoint.step)

    def write_if_there_is_room(self, name: str, held: dict[str, Any], **said: Any) -> None:
        """Saves work, but nothing depends on it: on a full disk what was there before stays."""
        try:
            self.write(name, held, **said)
        except OSError as error:
            log.warning("no checkpoint could be written", error=str(error), **said)
            self._written = time.monotonic()

    def write(self, name: str, held: dict[str, Any], **said: Any) -> None:
        """Dicts, lists, strings, numbers and tensors, as one file; `said` is for the log."""
        started = time.monotonic()
        buffer = io.BytesIO()
        torch.save(held, buffer)
        self._artifacts.write(name, buffer.getbuffer())
        self._written = time.monotonic()
        self._cost = self._written - started
        log.info("checkpoint written", seconds=round(self._cost, 2), bytes=buffer.getbuffer().nbytes, **said)

    def load(self, ordinals: int) -> Checkpoint | None:
        """The last checkpoint, or None if there is none that can be read."""
        held = self.read(CHECKPOINT)
        if held is None:
            return None
        if "books" not in held:
            log.warning("the checkpoint is of an older version; the job starts again")
            return None
        records = unpack_records(held["records"].numpy().tobytes(), ordinals)
        return Checkpoint(held["training"], records, held["run"], held["step"], held["books"])

    def read(self, name: str) -> dict[str, Any] | None:
        """What `write` left there, or None if there is nothing that can be read."""
        blob = self._artifacts.read(name)
        if blob is None:
            return None
        try:
            held: dict[str, Any] = torch.load(io.BytesIO(blob), weights_only=True)
        except (RuntimeError, EOFError) as error:
            log.warning("the checkpoint cannot be read; the job starts again", error=str(error))
            return None
        return held

    def save_base(self, records: Records) -> None:
        used = int(records["visits"].nonzero()[0].max(initial=-1)) + 1
        self._artifacts.write(BASE, pack_records(records[:used]))

    def load_base(self, ordinals: int) -> Records | None:
        blob = self._artifacts.read(BASE)
        return None if blob is None else unpack_records(blob, ordinals)


def as_tensor(blob: bytes) -> torch.Tensor:
    """Bytes as a file of tensors takes them."""
    return torch.from_numpy(np.frombuffer(bytearray(blob), dtype=np.uint8))
