"""All that the visits of a score job are entered into."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.signals import VisitSignals
from models.training import StepResult
from workers.score.book import ScoreBook
from workers.score.data import Rows
from workers.score.epoch_visits import EpochVisits
from workers.score.history import EpochHistory
from workers.score.recording import naming, visits_of
from workers.score.repeats import Repeats
from workers.score.responses import ResponseBook
from workers.score.views import ViewBook


@dataclass(frozen=True)
class Books:
    """Of a job on these train rows. scored: (n,) whose visits count; the others only train. responses: of
    `response=vector`. repeats: of several seeds."""

    train: Rows
    scored: NDArray[np.bool_]
    scores: ScoreBook
    visits: EpochVisits
    history: EpochHistory
    responses: ResponseBook | None
    repeats: Repeats | None
    views: ViewBook

    def enter(self, result: StepResult[VisitSignals], *, run: int, epoch: int) -> None:
        """One step of the job's run, from 0; epoch: over all of its runs. A failure names the samples."""
        signals, at = result.signals, int(time.time())
        if not self.scored.all():
            signals = signals.take(self.scored[signals.positions])
        positions = signals.positions
        visits = visits_of(signals, self.train, positions)
        with naming(self.train, positions):
            self.scores.add(visits, at=at)
        if self.responses is not None and signals.projection is not None:
            self.responses.add(visits.ordinals, visits.generations, signals.projection, visits.grad_norm)
        if self.repeats is not None:
            self.repeats.add(positions, visits.grad_norm)
        self.views.add(positions, signals.views)
        self.history.add(result, run=run)
        self.visits.add(epoch, visits, at=at)

    def end_run(self) -> None:
        if self.repeats is not None:
            self.repeats.end_run()

    def state(self) -> dict[str, Any]:
        """All but the scores, for a checkpoint."""
        return {
            "history": self.history.state(),
            "visits": self.visits.state(),
            "responses": None if self.responses is None else self.responses.state(),
            "repeats": None if self.repeats is None else self.repeats.state(),
            "views": self.views.state(),
        }
