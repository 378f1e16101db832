"""A model trained for its own sake, within a job that may be killed at any step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.logs import get_logger
from models.batching import TokenizedTexts
from models.encoders import LoadedClassifier
from models.evaluation import predict_logits
from models.training import FittingRun, StepResult
from models.training.fitting import Losses
from workers.ground import Ground
from workers.lease import JobInterrupted
from workers.score.data import Rows
from workers.score.pace import Pace
from workers.score.recording import naming
from workers.score.room import when_there_is_room

FITTED = "fitted.pt"
log = get_logger(__name__)


@dataclass
class Course:
    """How a training went. epochs: an entry each. loss_sum, samples: of the epoch that runs. step: the last
    one that is done. first_loss, last_loss: of the first and of the last step."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    samples: int = 0
    step: int = 0
    seconds: float = 0.0
    first_loss: float | None = None
    last_loss: float | None = None

    def add(self, result: StepResult[Losses]) -> None:
        self.step = result.step
        self.first_loss = result.loss if self.first_loss is None else self.first_loss
        self.last_loss = result.loss
        self.loss_sum += result.loss * len(result.signals)
        self.samples += len(result.signals)
        if not result.epoch_ended:
            return
        validation = None if result.epoch_metrics is None else asdict(result.epoch_metrics)
        told = {"epoch": result.epoch + 1, "train_loss": self.loss_sum / self.samples}
        judged = {"validation": validation, "validation_loss": result.validation_loss}
        self.epochs.append(told | judged)
        self.loss_sum, self.samples = 0.0, 0


class Fitting:
    """The job's trainings, one after the other, each resumable within."""

    def __init__(self, ground: Ground, pace: Pace) -> None:
        self._ground = ground
        self._pace = pace

    def go(self, run: FittingRun, rows: Rows, *, name: str = "") -> Course:
        """Trains to the end, from where an earlier attempt left the training of this name.

        Raises what the lease raises, after a checkpoint; ModelError and JobFailed where the training does.
        """
        before, began = self._pace.done, time.monotonic()
        course = self._resume(run, name)
        spent = course.seconds
        self._pace.go_to(before + course.step)
        self._ground.lease.check(self._pace.progress())
        try:
            with naming(rows):
                for result in run.steps():
                    course.add(result)
                    course.seconds = spent + time.monotonic() - began
                    self._pace.add(before + result.step, len(result.signals))
                    if self._ground.checkpoints.due():
                        self._checkpoint(run, course, name)
                    self._ground.lease.check(self._pace.progress())
        except JobInterrupted:
            self._checkpoint(run, course, name)
            raise
        return course

    def _resume(self, run: FittingRun, name: str) -> Course:
        held = self._ground.checkpoints.read(FITTED)
        if held is None or held["name"] != name:
            return Course()
        run.load_state_dict(held["training"])
        log.info("training resumes", step=held["course"]["step"], of=run.total_steps, name=name)
        return Course(**held["course"])

    def _checkpoint(self, run: FittingRun, course: Course, name: str) -> None:
        held = {"name": name, "training": run.state_dict(), "course": asdict(course)}
        self._ground.checkpoints.write_if_there_is_room(FITTED, held, step=course.step)


def predicted(
    ground: Ground, run: FittingRun, classifier: LoadedClassifier, tokens: TokenizedTexts
) -> NDArray[np.float32]:
    """Logits (n, classes). Raises what the lease raises."""
    return predict_logits(
        classifier.model,
        tokens,
        batch_size=ground.params.per_device_train_batch_size,
        autocast_dtype=run.autocast_dtype,
        on_batch=ground.lease.check,
    )


def keep(ground: Ground, name: str, held: Mapping[str, Any]) -> None:
    """Writes what a later attempt could not find again; waits while the disk is full."""
    when_there_is_room(ground.lease, lambda: ground.checkpoints.write(name, dict(held)))
