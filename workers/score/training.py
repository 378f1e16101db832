"""The training loop of a score job: visits into the book, checkpoints, a way out at every step."""

from __future__ import annotations

import time

from app.logs import get_logger
from app.settings import Settings
from models.training import ScoringRun, StepResult
from workers.lease import JobInterrupted, JobLease
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.data import Rows
from workers.score.epoch_visits import EpochVisits
from workers.score.history import EpochHistory
from workers.score.pace import Pace
from workers.score.recording import naming, visits_of
from workers.score.responses import ResponseBook
from workers.score.room import when_there_is_room

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
            with naming(self._train):
                for result in self._run.steps():
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
        positions, at = result.signals.positions, int(time.time())
        visits = visits_of(result.signals, self._train, positions)
        with naming(self._train, positions):
            self._book.add(visits, at=at)
        if self.responses is not None and result.signals.projection is not None:
            self.responses.add(
                visits.ordinals, visits.generations, result.signals.projection, visits.grad_norm
            )
        self._history.add(result)
        self._visits.add(result.epoch, visits, at=at)
