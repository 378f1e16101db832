"""A model trained for its own sake, within a job that may be killed at any step."""

from __future__ import annotations

import math
import time
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
from workers.ground import TrainingGround
from workers.lease import BudgetExceeded, JobInterrupted
from workers.score.data import Rows
from workers.score.pace import Pace
from workers.score.recording import naming

FITTED = "fitted.pt"
MAX_MINUTES = "max_minutes"
MOST_POINTS = 2_000
"""Of the loss, kept beside those at the ends of epochs."""
log = get_logger(__name__)


@dataclass
class Course:
    """How a training went. epochs: an entry each. loss_sum, samples: of the epoch that runs. step: the last
    one that is done.

    points: `step`, `loss` (mean since the point before), `learning_rate` and `time` (seconds since 1970). One
    in `every` steps and at the end of an epoch, so that a long training keeps no more than a short one.
    since_point: sum of losses and samples since the last. stopped_by: `max_minutes` where that ended it.
    learning_rate: of the last step.
    """

    every: int = 1
    epochs: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    samples: int = 0
    step: int = 0
    seconds: float = 0.0
    points: list[dict[str, float]] = field(default_factory=list)
    since_point: tuple[float, int] = (0.0, 0)
    learning_rate: float = 0.0
    stopped_by: str | None = None

    @property
    def validation(self) -> dict[str, Any] | None:
        """Of the last epoch that has ended."""
        return self.epochs[-1]["validation"] if self.epochs else None

    def add(self, result: StepResult[Losses]) -> None:
        self.step, self.learning_rate = result.step, result.learning_rate
        self.loss_sum += result.loss * len(result.signals)
        self.samples += len(result.signals)
        self._add_point(result)
        if not result.epoch_ended:
            return
        validation = None if result.epoch_metrics is None else asdict(result.epoch_metrics)
        mean = self.loss_sum / self.samples
        ended = {"epoch": result.epoch + 1, "step": result.step}
        judged = {"validation_loss": result.validation_loss}
        self.epochs.append({**ended, "train_loss": mean, "validation": validation, **judged})
        self.loss_sum, self.samples = 0.0, 0

    def _add_point(self, result: StepResult[Losses]) -> None:
        loss_sum, samples = self.since_point
        loss_sum, samples = loss_sum + result.loss * len(result.signals), samples + len(result.signals)
        self.since_point = loss_sum, samples
        if result.step % self.every == 0 or result.epoch_ended:
            self._end_point()

    def _end_point(self) -> None:
        loss_sum, samples = self.since_point
        told = {"loss": loss_sum / samples, "learning_rate": self.learning_rate, "time": time.time()}
        self.points.append({"step": self.step, **told})
        self.since_point = 0.0, 0

    def stop(self, by: str) -> None:
        """It ends here, within an epoch maybe."""
        self.stopped_by = by
        if self.since_point[1]:
            self._end_point()


class Fitting:
    """The job's trainings, one after the other, each resumable within."""

    def __init__(self, ground: TrainingGround, pace: Pace) -> None:
        self._ground = ground
        self._pace = pace

    def go(self, run: FittingRun, rows: Rows, *, name: str = "", partly: bool = False) -> Course:
        """Trains to the end, from where an earlier attempt left the training of this name.

        partly: where the budget is spent within an epoch, what has been learned by then will do.

        Raises what the lease raises, after a checkpoint; ModelError and JobFailed where the training does.
        """
        before, began = self._pace.done, time.monotonic()
        course = self._resume(run, name)
        spent = course.seconds
        self._pace.go_to(before + course.step)
        self._pace.judge(course.validation)
        try:
            self._ground.lease.step(self._pace.progress())
            with naming(rows):
                for result in run.steps():
                    course.add(result)
                    course.seconds = spent + time.monotonic() - began
                    self._pace.add(before + result.step, len(result.signals), result.loss)
                    self._pace.judge(course.validation)
                    if self._ground.checkpoints.due():
                        self._checkpoint(run, course, name)
                    self._ground.lease.step(self._pace.progress())
        except JobInterrupted:
            self._checkpoint(run, course, name)
            raise
        except BudgetExceeded:
            if run.finished:
                return course
            if not partly or course.step == 0:
                raise
            self._checkpoint(run, course, name)
            run.stop()
            course.stop(MAX_MINUTES)
        return course

    def _resume(self, run: FittingRun, name: str) -> Course:
        held = self._ground.checkpoints.read(FITTED)
        if held is not None and "points" not in held["course"]:
            log.warning("the checkpoint is of an older version; the training starts again")
            held = None
        if held is None or held["name"] != name:
            return Course(every=math.ceil(run.total_steps / MOST_POINTS))
        run.load_state_dict(held["training"])
        log.info("training resumes", step=held["course"]["step"], of=run.total_steps, name=name)
        return Course(**held["course"])

    def _checkpoint(self, run: FittingRun, course: Course, name: str) -> None:
        held = {"name": name, "training": run.state_dict(), "course": asdict(course)}
        self._ground.checkpoints.write_if_there_is_room(FITTED, held, step=course.step)


def predicted(
    ground: TrainingGround, run: FittingRun, classifier: LoadedClassifier, tokens: TokenizedTexts
) -> NDArray[np.float32]:
    """Logits (n, classes). Raises what the lease raises."""
    return predict_logits(
        classifier.model,
        tokens,
        batch_size=ground.params.per_device_train_batch_size,
        autocast_dtype=run.autocast_dtype,
        on_batch=ground.lease.check,
    )
