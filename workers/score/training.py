"""The training of a score job: visits into the books, checkpoints, a way out at every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

from app.logs import get_logger
from app.settings import Settings
from models.gradients import ParameterCoverage
from models.training import ScoringRun
from workers.lease import BudgetExceeded, JobInterrupted, JobLease
from workers.score.books import Books
from workers.score.checkpoint import Checkpoint, Checkpoints
from workers.score.pace import Pace
from workers.score.recording import naming
from workers.score.room import when_there_is_room
from workers.train.fitting import MAX_MINUTES

log = get_logger(__name__)


class ScoreTraining:
    """Run after run, each of the model as it was loaded.

    Args:
        begin: makes a run by its number, from 0.
        runs: how many there are.
        epochs: of one run, at most.
        left: where an earlier attempt can go on, None to begin.
    """

    def __init__(
        self,
        begin: Callable[[int], ScoringRun],
        books: Books,
        checkpoints: Checkpoints,
        left: Checkpoint | None,
        *,
        runs: int,
        epochs: int,
    ) -> None:
        self._begin = begin
        self._books = books
        self._checkpoints = checkpoints
        self._left = left
        self._runs = runs
        self._epochs = epochs
        self._step = 0 if left is None else left.step
        self.coverage: tuple[ParameterCoverage, ...] = ()
        self.last: ScoringRun | None = None
        self.stopped_by: str | None = None
        self.broken_steps = 0

    def go(self, lease: JobLease, settings: Settings, pace: Pace) -> None:
        """Trains to the end. Raises what the lease raises; an interrupted run leaves a checkpoint.

        Where the budget is spent after every sample was visited, that is the end: `stopped_by`, and
        `broken_steps` of the epoch that did not end.
        """
        before = pace.done
        for number in range(0 if self._left is None else self._left.run, self._runs):
            run = self._begin(number)
            if self._left is not None:
                run.load_state_dict(self._left.training)
                log.info("job resumes", step=self._left.step, run=number + 1, of=self._runs)
                self._left = None
            pace.phase = "training" if self._runs == 1 else f"training, run {number + 1} of {self._runs}"
            pace.go_to(before + max(self._step, number * run.total_steps))
            try:
                lease.step(pace.progress())
                self._go_through(run, number, before, lease, settings, pace)
            except JobInterrupted:
                self._save(run, number)
                raise
            except BudgetExceeded:
                if not self._enough(number):
                    raise
                self._save(run, number)
                if not run.finished or number + 1 < self._runs:
                    self.stopped_by, self.broken_steps = MAX_MINUTES, run.step_in_epoch
            self.coverage, self.last = run.coverage, run
            if run.finished:
                self._books.end_run()
            if self.stopped_by is not None:
                return

    def _enough(self, number: int) -> bool:
        """Whether sets can be made of the visits so far, and of several runs be said how far they agree."""
        return number >= 2 if self._runs > 1 else bool(self._books.history.epochs)

    def _go_through(
        self, run: ScoringRun, number: int, before: int, lease: JobLease, settings: Settings, pace: Pace
    ) -> None:
        flushed = time.monotonic()
        with naming(self._books.train):
            for result in run.steps():
                self._books.enter(result, run=number, epoch=number * self._epochs + result.epoch)
                if result.epoch_ended:
                    when_there_is_room(lease, self._books.visits.end_epoch)
                self._step = number * run.total_steps + result.step
                pace.add(before + self._step, len(result.signals), result.loss)
                pace.judge(None if result.epoch_metrics is None else asdict(result.epoch_metrics))
                if time.monotonic() - flushed >= settings.flush_seconds:
                    self._books.scores.flush(self._step)
                    flushed = time.monotonic()
                if self._checkpoints.due():
                    self._save(run, number)
                lease.step(pace.progress())

    def _save(self, run: ScoringRun, number: int) -> None:
        books = self._books
        self._checkpoints.save(
            Checkpoint(run.state_dict(), books.scores.records, number, self._step, books.state())
        )
