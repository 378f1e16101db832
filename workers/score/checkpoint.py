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
    training: dict[str, Any]
    records: Records
    step: int
    history: dict[str, Any]
    visits: dict[str, Any]
    responses: dict[str, Any] | None


class Checkpoints:
    """The one checkpoint of a job, replaced whole, and the records that the job found when it began."""

    def __init__(self, artifacts: ArtifactStore, interval_seconds: float) -> None:
        self._artifacts = artifacts
        self._interval = interval_seconds
        self._written = time.monotonic()
        self._cost = 0.0

    def due(self) -> bool:
        return time.monotonic() - self._written >= max(self._interval, COST_SHARE * self._cost)

    def postpone(self) -> None:
        """The next one is due after another interval."""
        self._written = time.monotonic()

    def save(
        self,
        training: dict[str, Any],
        records: Records,
        *,
        step: int,
        history: dict[str, Any],
        visits: dict[str, Any],
        responses: dict[str, Any] | None,
    ) -> None:
        """`history` and `visits`: what the epochs came to, and the visits of the one that has not ended."""
        started = time.monotonic()
        buffer = io.BytesIO()
        packed = torch.from_numpy(np.frombuffer(bytearray(pack_records(records)), dtype=np.uint8))
        held = {"training": training, "records": packed, "step": step, "history": history, "visits": visits}
        torch.save(held | {"responses": responses}, buffer)
        self._artifacts.write(CHECKPOINT, buffer.getbuffer())
        self._written = time.monotonic()
        self._cost = self._written - started
        log.info(
            "checkpoint written", step=step, seconds=round(self._cost, 2), bytes=buffer.getbuffer().nbytes
        )

    def load(self, ordinals: int) -> Checkpoint | None:
        """The last checkpoint, or None if there is none that can be read."""
        blob = self._artifacts.read(CHECKPOINT)
        if blob is None:
            return None
        try:
            held = torch.load(io.BytesIO(blob), weights_only=True)
        except (RuntimeError, EOFError) as error:
            log.warning("the checkpoint cannot be read; the job starts again", error=str(error))
            return None
        if "visits" not in held:
            log.warning("the checkpoint is of an older version; the job starts again")
            return None
        records = unpack_records(held["records"].numpy().tobytes(), ordinals)
        responses = held.get("responses")
        return Checkpoint(held["training"], records, held["step"], held["history"], held["visits"], responses)

    def save_base(self, records: Records) -> None:
        used = int(records["visits"].nonzero()[0].max(initial=-1)) + 1
        self._artifacts.write(BASE, pack_records(records[:used]))

    def load_base(self, ordinals: int) -> Records | None:
        blob = self._artifacts.read(BASE)
        return None if blob is None else unpack_records(blob, ordinals)
