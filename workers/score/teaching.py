"""One model taught by one part of the samples: how well it does, and what it says of all others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.logs import get_logger
from models.batching import TokenizedTexts
from models.encoders import LoadedClassifier
from models.evaluation import classification_metrics, predict_logits
from models.noise import temperature
from models.signals import VisitSignals
from models.training import ScoringRun, pick_device
from workers.lease import JobInterrupted
from workers.score.configuration import training_config
from workers.score.description import coverage_told
from workers.score.epoch_visits import EpochVisits
from workers.score.groundwork import Groundwork, Material
from workers.score.pace import Pace
from workers.score.recording import naming, visits_of
from workers.score.views import Sight, ViewBook, packed, unpacked

TAUGHT = "taught.pt"
TEMPERATURES = tuple(np.geomspace(0.05, 50, 31).tolist())
Ints = NDArray[np.int64]
log = get_logger(__name__)


@dataclass(frozen=True)
class Taught:
    """others: (m,) the samples that did not teach; logits: (m, classes) what the model says of them,
    as sure as it is right on validation, or on them where there is no such split. validation: its metrics,
    empty without one. coverage: of the gradient norms. sight: of a lesson that is recorded."""

    others: Ints
    logits: NDArray[np.float32]
    validation: dict[str, Any]
    coverage: dict[str, Any]
    sight: Sight | None


class Teaching:
    """A turn's lessons, one after the other, resumable within each.

    visits: where lessons that are recorded leave theirs.
    """

    def __init__(
        self, ground: Groundwork, material: Material, visits: EpochVisits | None, pace: Pace, *, turn: int
    ) -> None:
        self._ground = ground
        self._material = material
        self._visits = visits
        self._pace = pace
        self._turn = turn
        self._began = time.monotonic()
        self._before = 0.0
        self._views = ViewBook(len(material.train))
        self._done: dict[str, dict[str, Any]] = {}
        self._left: dict[str, Any] = {}
        self._resume()

    @property
    def seconds(self) -> float:
        """Spent on the turn, by earlier attempts too, as far as they left a checkpoint."""
        return self._before + time.monotonic() - self._began

    def teach(self, lesson: str, positions: Ints, epochs: int, *, recording: bool) -> Taught:
        """Trains the model, as it was loaded, on the samples at these positions (k,).

        recording: the visits of the last epoch count, and all other samples are visited once after it. Raises
        what the lease raises; an interrupted lesson goes on where it was.
        """
        train = self._material.train
        others = np.setdiff1d(np.arange(len(train)), positions)
        if lesson in self._done:
            return self._as_done(self._done[lesson], others, recording=recording)
        config = training_config(self._ground.params, epochs=epochs)
        classifier = self._ground.load_model(len(self._material.data.classes))
        run = ScoringRun(
            classifier, train.take(positions), None, config, pick_device(), self._ground.micro_batch
        )
        measured = self._go_on(lesson, run)
        try:
            left = others if recording else None
            for batches in self._steps(run, positions, left, epochs, measured):
                measured = batches
                self._ground.lease.step(self._pace.progress())
                if self._ground.checkpoints.due():
                    self._save(lesson, run, measured)
            taught = self._look_back(run, classifier, others, recording=recording)
        except JobInterrupted:
            self._save(lesson, run, measured)
            raise
        self._done[lesson] = {
            "logits": torch.from_numpy(taught.logits),
            "validation": taught.validation,
            "coverage": taught.coverage,
            "sight": None if taught.sight is None else _of_validation(taught.sight),
        }
        self._save()
        return taught

    def _steps(
        self, run: ScoringRun, positions: Ints, others: Ints | None, epochs: int, measured: int
    ) -> Iterator[int]:
        """After each step: how many batches of the others have been measured."""
        rows = self._material.data.train
        with naming(rows, positions):
            for result in run.steps():
                if others is not None and result.epoch == epochs - 1:
                    self._record(result.signals, positions)
                self._pace.add(self._pace.done + 1, len(result.signals), result.loss)
                yield 0
        if others is None or not len(others):
            return
        with naming(rows, others):
            for signals in run.measure(self._material.train.take(others), start=measured):
                self._record(signals, others)
                self._pace.add(self._pace.done + 1, len(signals))
                measured += 1
                yield measured

    def _record(self, signals: VisitSignals, positions: Ints) -> None:
        assert self._visits is not None
        visits = visits_of(signals, self._material.data.train, positions[signals.positions])
        self._views.add(positions[signals.positions], signals.views)
        self._visits.add(self._turn - 1, visits, at=int(time.time()))

    def _look_back(
        self, run: ScoringRun, classifier: LoadedClassifier, others: Ints, *, recording: bool
    ) -> Taught:
        material, size = self._material, self._ground.params.per_device_train_batch_size
        validation, labels = material.validation, material.train.labels[others]

        def said_of(tokens: TokenizedTexts) -> NDArray[np.float32]:
            return predict_logits(
                classifier.model,
                tokens,
                batch_size=size,
                autocast_dtype=run.autocast_dtype,
                on_batch=self._ground.lease.check,
            )

        said = np.zeros((0, len(material.data.classes)), np.float32)
        if len(others):
            said = said_of(material.train.tokens.take(others))
        tried, metrics = said, {}
        if validation is not None:
            tried, labels = said_of(validation.tokens), validation.labels
            metrics = asdict(classification_metrics(tried, labels))
        sureness = temperature(tried.astype(np.float64), labels, TEMPERATURES)
        told = coverage_told(classifier, run.coverage)
        sight = Sight.at_the_end(self._ground, material, run, self._views) if recording else None
        return Taught(others, said * np.float32(sureness), metrics, told, sight)

    def _as_done(self, held: dict[str, Any], others: Ints, *, recording: bool) -> Taught:
        sight = None
        if recording:
            parts = held["sight"]
            head = None if parts["head"] is None else parts["head"].numpy()
            sight = Sight(self._views.views, unpacked(parts["validation"]), head)
        return Taught(others, held["logits"].numpy(), held["validation"], held["coverage"], sight)

    # -- where it can go on --------------------------------------------------------------------------------
    def _resume(self) -> None:
        held = self._ground.checkpoints.read(TAUGHT)
        if held is None or held["round"] != self._turn:
            return
        self._done, self._left = held["done"], held["left"]
        if self._visits is not None:
            self._visits.load_state(held["visits"])
        self._views.load_state(held["views"])
        self._pace.go_to(held["step"])
        self._before = held["seconds"]
        log.info("round resumes", round=self._turn, lesson=self._left.get("lesson"))

    def _go_on(self, lesson: str, run: ScoringRun) -> int:
        if self._left.get("lesson") != lesson:
            return 0
        run.load_state_dict(self._left["training"])
        return int(self._left["measured"])

    def _save(self, lesson: str = "", run: ScoringRun | None = None, measured: int = 0) -> None:
        left = {"lesson": lesson, "measured": measured}
        held = {
            "round": self._turn,
            "done": self._done,
            "left": left if run is None else left | {"training": run.state_dict()},
            "visits": None if self._visits is None else self._visits.state(),
            "views": self._views.state(),
            "step": self._pace.done,
            "seconds": self.seconds,
        }
        self._ground.checkpoints.write_if_there_is_room(
            TAUGHT, held, round=self._turn, lesson=lesson or "between"
        )


def _of_validation(sight: Sight) -> dict[str, Any]:
    """What a checkpoint keeps of it; the train samples' part is a book of its own."""
    head = None if sight.head is None else torch.from_numpy(sight.head)
    return {"validation": packed(sight.validation), "head": head}
