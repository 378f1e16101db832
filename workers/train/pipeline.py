"""The `train` job from its claim to its result."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts import Dataset
from app.contracts.params import TrainParams
from app.logs import get_logger
from app.settings import Settings
from app.store.state import State
from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.encoders.saving import save_classifier
from models.evaluation import classification_metrics, predict_logits
from models.training import FittingRun, pick_device
from workers.ground import Ground
from workers.lease import JobInterrupted, JobLease
from workers.score.configuration import training_config
from workers.score.data import JobData, Rows, load_job_data
from workers.score.pace import Pace
from workers.score.recording import naming
from workers.score.room import when_there_is_room
from workers.train.card import model_card
from workers.train.subset import chosen

FITTED = "fitted.pt"
CHOSEN = "chosen.pt"
MODEL = "model"
log = get_logger(__name__)


@dataclass
class Course:
    """How a training went. epochs: an entry each. sums: of the losses of the epoch that runs, and of how
    many samples. step: the last one that is done."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    sums: tuple[float, int] = (0.0, 0)
    step: int = 0
    seconds: float = 0.0


class TrainJob:
    """Trains on the chosen samples, evaluates on the validation and the test split, stores the model."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state = state
        self._lease = lease
        self._params = TrainParams.model_validate(lease.claim.job.params)
        self._ground = Ground(state, settings, lease, self._params)

    def run(self) -> dict[str, Any]:
        """The job's `result`.

        Raises:
            JobCancelled, JobInterrupted, StaleWorker: from the lease; an interrupted job can be resumed.
            GradSiftError, ModelError: what the client can act on.
        """
        ground, params = self._ground, self._params
        ground.phase("loading")
        dataset = ground.dataset()
        version = self._state.samples.pin(dataset, ground.claim.job.id)
        data = load_job_data(self._state, dataset, version, params)
        rows = data.train.take(self._chosen(dataset, data))
        classifier = ground.load_model(len(data.classes))
        ground.phase("tokenizing")
        train = ground.tokenized(classifier, rows)
        validation = None if data.validation is None else ground.tokenized(classifier, data.validation)
        test = None if data.test is None else ground.tokenized(classifier, data.test)
        run = FittingRun(classifier, train, validation, training_config(params), pick_device())
        course = self._train(run, rows)
        ground.phase("evaluating", step=course.step, total=run.total_steps)
        result = {
            "set": params.set,
            "set_version": params.version,
            "lineage": self._lineage(dataset),
            "labels": list(data.classes),
            "train_samples": len(rows),
            "skipped_unlabelled": data.skipped_unlabelled,
            "validation_source": data.validation_source,
            "data_version": version,
            "model_revision": classifier.revision,
            "epochs": course.epochs,
            "steps": course.step,
            "validation": self._evaluated(run, classifier, validation),
            "test": self._evaluated(run, classifier, test),
            "seconds": round(course.seconds, 2),
        }
        ground.phase("saving", step=course.step, total=run.total_steps)
        files = when_there_is_room(self._lease, lambda: self._save(classifier, data, result))
        log.info("model stored", files=len(files), steps=course.step)
        return {**result, "files": files}

    def _chosen(self, dataset: Dataset, data: JobData) -> NDArray[np.int64]:
        """Kept by the first attempt: the version may be gone when a later one comes."""
        held = self._ground.checkpoints.read(CHOSEN)
        if held is not None:
            found: NDArray[np.int64] = held["positions"].numpy()
            return found
        positions = chosen(self._state, dataset, data.train, self._params)
        kept = {"positions": torch.from_numpy(positions)}
        when_there_is_room(self._lease, lambda: self._ground.checkpoints.write(CHOSEN, kept))
        return positions

    def _lineage(self, dataset: Dataset) -> str | None:
        """Whose scores the sets are of; None without sets, or where the version is gone by now."""
        version = self._params.version
        held = {one.version: one.lineage for one in self._state.sets.versions(dataset)}
        return None if version is None else held.get(version)

    # -- training --------------------------------------------------------------------------------------------
    def _train(self, run: FittingRun, rows: Rows) -> Course:
        course = self._resume(run)
        pace = Pace(course.step, run.total_steps)
        self._lease.check(pace.progress())
        before, began = course.seconds, time.monotonic()
        try:
            with naming(rows):
                for result in run.steps():
                    total, count = course.sums
                    course.sums = total + result.loss * len(result.signals), count + len(result.signals)
                    if result.epoch_ended:
                        self._end_epoch(
                            course,
                            result.epoch,
                            asdict(result.epoch_metrics) if result.epoch_metrics else None,
                        )
                    course.step = result.step
                    course.seconds = before + time.monotonic() - began
                    pace.add(result.step, len(result.signals))
                    if self._ground.checkpoints.due():
                        self._checkpoint(run, course)
                    self._lease.check(pace.progress())
        except JobInterrupted:
            self._checkpoint(run, course)
            raise
        return course

    @staticmethod
    def _end_epoch(course: Course, epoch: int, validation: dict[str, Any] | None) -> None:
        total, count = course.sums
        course.epochs.append({"epoch": epoch + 1, "train_loss": total / count, "validation": validation})
        course.sums = (0.0, 0)

    def _resume(self, run: FittingRun) -> Course:
        held = self._ground.checkpoints.read(FITTED)
        if held is None:
            return Course()
        run.load_state_dict(held["training"])
        log.info("job resumes", step=held["course"]["step"], of=run.total_steps)
        return Course(**held["course"])

    def _checkpoint(self, run: FittingRun, course: Course) -> None:
        """Saves work, but nothing depends on it: on a full disk the one before stays."""
        held = {"training": run.state_dict(), "course": asdict(course)}
        try:
            self._ground.checkpoints.write(FITTED, held, step=course.step)
        except OSError as error:
            log.warning("no checkpoint could be written", step=course.step, error=str(error))
            self._ground.checkpoints.postpone()

    # -- what came of it -------------------------------------------------------------------------------------
    def _evaluated(
        self, run: FittingRun, classifier: LoadedClassifier, split: LabelledTexts | None
    ) -> dict[str, Any] | None:
        if split is None or not len(split):
            return None
        logits = predict_logits(
            classifier.model,
            split.tokens,
            batch_size=self._params.per_device_train_batch_size,
            autocast_dtype=run.autocast_dtype,
            on_batch=self._lease.check,
        )
        return asdict(classification_metrics(logits, split.labels))

    def _save(self, classifier: LoadedClassifier, data: JobData, result: dict[str, Any]) -> list[str]:
        """Writes the model's files; their names. Bears repetition."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_classifier(
                classifier,
                folder,
                labels=[str(label) for label in data.classes],
                max_length=classifier.clamp_length(self._params.max_length),
            )
            (folder / "README.md").write_text(model_card(self._ground.claim.job, data.classes, result))
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            for path in files:
                with (
                    self._ground.results.writing(f"{MODEL}/{path.relative_to(folder)}") as stream,
                    path.open("rb") as source,
                ):
                    while chunk := source.read(2**20):
                        stream.write(chunk)
        return [f"{MODEL}/{path.relative_to(folder)}" for path in files]
