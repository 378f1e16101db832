"""The training loop of a score job: visits into the book, checkpoints, a way out at every step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from app.errors import JobFailed
from app.logs import get_logger
from app.settings import Settings
from app.store.records import Unrecordable, Visits
from models.errors import ModelError
from models.training import ScoringRun, StepResult
from workers.lease import JobInterrupted, JobLease
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.data import Rows
from workers.score.epoch_visits import EpochVisits
from workers.score.history import EpochHistory
from workers.score.pace import Pace
from workers.score.responses import ResponseBook
from workers.score.room import when_there_is_room

NAMED_SAMPLES = 5
log = get_logger(__name__)


class ScoreTraining:
    def __init__(
        self,
        run: ScoringRun,
        book: ScoreBook,
        responses: ResponseBook | None,
        train: Rows,
        checkpoints: Checkpoints,
        history: EpochHistory,
        visits: EpochVisits,
        *,
        from_step: int,
    ) -> None:
        self._run = run
        self._book = book
        self.responses = responses
        self._train = train
        self._checkpoints = checkpoints
        self._history = history
        self._visits = visits
        self.last_step = from_step

    def go(self, lease: JobLease, settings: Settings) -> None:
        """Trains to the end. Raises what the lease raises; an interrupted run leaves a checkpoint."""
        pace = Pace(self.last_step, self._run.total_steps)
        lease.check(pace.progress())
        flushed = time.monotonic()
        try:
            for result in self._steps():
                self._record(result)
                if result.epoch_ended:
                    when_there_is_room(lease, self._visits.end_epoch)
                self.last_step = result.step
                pace.add(result.step, len(result.signals))
                if time.monotonic() - flushed >= settings.flush_seconds:
                    self._book.flush(result.step)
                    flushed = time.monotonic()
                if self._checkpoints.due():
                    self._save_if_there_is_room()
                lease.check(pace.progress())
        except JobInterrupted:
            self._save_if_there_is_room()
            raise

    def _save_if_there_is_room(self) -> None:
        """A checkpoint saves work, but nothing depends on it: on a full disk the one before stays."""
        try:
            self._checkpoints.save(
                self._run.state_dict(),
                self._book.records,
                step=self.last_step,
                history=self._history.state(),
                visits=self._visits.state(),
                responses=None if self.responses is None else self.responses.state(),
            )
        except OSError as error:
            log.warning("no checkpoint could be written", step=self.last_step, error=str(error))
            self._checkpoints.postpone()

    def _record(self, result: StepResult) -> None:
        """One step's visits, into the book and the epoch's file; a failure names their samples."""
        visits, at = _visits(result, self._train), int(time.time())
        try:
            self._book.add(visits, at=at)
        except Unrecordable as error:
            positions = result.signals.positions[list(error.positions)].tolist()
            raise self._naming(positions, error.code, error.detail, error.remedy) from error
        if self.responses is not None and result.signals.projection is not None:
            self.responses.add(
                visits.ordinals, visits.generations, result.signals.projection, visits.grad_norm
            )
        self._history.add(result)
        self._visits.add(result.epoch, visits, at=at)

    def _steps(self) -> Iterator[StepResult]:
        """The run's steps; a failure that names positions names the samples instead."""
        try:
            yield from self._run.steps()
        except ModelError as error:
            if not error.positions:
                raise
            raise self._naming(error.positions, error.code, error.detail, error.remedy) from error

    def _naming(self, positions: Sequence[int], code: str, detail: str, remedy: str) -> JobFailed:
        ids = [repr(self._train.ids[position]) for position in positions[:NAMED_SAMPLES]]
        more = len(positions) - len(ids)
        samples = ", ".join(ids) + (f" and {more} more" if more else "")
        return JobFailed(code, f"{detail} Samples: {samples}", remedy=remedy)


def _visits(result: StepResult, train: Rows) -> Visits:
    signals = result.signals
    return Visits(
        ordinals=train.ordinals[signals.positions],
        generations=train.generations[signals.positions],
        grad_norm=signals.grad_norm,
        loss=signals.loss.astype(np.float64),
        el2n=signals.el2n.astype(np.float64),
        margin=signals.margin.astype(np.float64),
        confidence=signals.confidence.astype(np.float64),
        correct=signals.correct,
        alignment=signals.alignment.astype(np.float64),
    )
