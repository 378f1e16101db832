"""The `train` job from its claim to its result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts import Dataset, Task
from app.contracts.expressions import read_set_expression
from app.contracts.params import TrainParams
from app.logs import get_logger
from app.settings import Settings
from app.store.results import MODEL
from app.store.state import State
from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.encoders.saving import save_classifier
from models.losses.graded import require_order
from models.training import FittingRun, pick_device
from workers.ground import TrainingGround
from workers.lease import JobLease
from workers.measuring import Measure, Metrics
from workers.report.train import report_training
from workers.score.configuration import training_config
from workers.score.data import JobData, Rows
from workers.score.pace import Pace
from workers.score.room import when_there_is_room
from workers.train.card import model_card
from workers.train.domain import DomainPretraining
from workers.train.event_log import event_log, event_log_name
from workers.train.fitting import Fitting, predicted
from workers.train.scalars import Scalar, scalars
from workers.train.subset import as_many, members, of_ids
from workers.train.wandb_run import tell_wandb

CHOSEN = "chosen.pt"
log = get_logger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """What the model says of a split, (n, classes), and how good that is; `count`: of samples."""

    rows: Rows
    logits: NDArray[np.float32]
    metrics: Metrics


class TrainJob:
    """Trains on the chosen samples, evaluates on the validation and the test split, stores the model."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state, self._settings = state, settings
        self._lease = lease
        self._params = TrainParams.model_validate(lease.claim.job.params)
        self._ground = TrainingGround(state, settings, lease, self._params)

    def run(self) -> dict[str, Any]:
        """The job's `result`.

        Raises:
            JobCancelled, JobInterrupted, StaleWorker: from the lease; an interrupted job can be resumed.
            GradSiftError, ModelError: what the client can act on.
        """
        ground, params = self._ground, self._params
        ground.phase("loading")
        dataset = ground.dataset()
        version, data = ground.read(dataset)
        rows = data.train.take(self._chosen(dataset, data))
        config = training_config(params)
        require_order(config.loss, rows.labels, rows.queries)
        classifier = ground.load_model(len(data.classes))
        ground.phase("tokenizing")
        train = ground.tokenized(classifier, rows)
        validation = None if data.validation is None else ground.tokenized(classifier, data.validation)
        test = None if data.test is None else ground.tokenized(classifier, data.test)
        domain = DomainPretraining.asked_for(ground, params, dataset, version, data)
        pace = Pace(0, config.total_steps(len(rows), rows.queries) + (domain.steps if domain else 0))
        adapted = domain.adapted(pace) if domain else None
        if adapted is not None:
            classifier = ground.load_model(len(data.classes), encoder=adapted.encoder)
        run = FittingRun(
            classifier,
            train,
            validation,
            config,
            pick_device(),
            grades=data.grades,
            micro_batch=ground.micro_batch,
        )
        course = Fitting(ground, pace).go(run, rows, partly=True)
        ground.phase("evaluating", step=pace.done, total=pace.total)
        measure = partial(Measure, classes=data.classes, by_query=dataset.task is Task.RELEVANCE)
        validated = self._evaluated(run, classifier, data.validation, validation, measure)
        tested = self._evaluated(run, classifier, data.test, test, measure)
        result = {
            "set": params.set,
            "set_version": params.version,
            "lineage": self._lineage(dataset),
            "labels": list(data.classes),
            "train_samples": len(rows),
            "text_pairs": _with_pairs(rows),
            "skipped_unlabelled": data.skipped_unlabelled,
            "excluded": data.excluded,
            "validation_source": data.validation_source,
            "data_version": version,
            "model_revision": classifier.revision,
            "provenance": ground.provenance(version, data, classifier),
            "domain_pretraining": dict(adapted.told) if adapted else None,
            "epochs": course.epochs,
            "steps": course.step,
            "stopped_by": course.stopped_by,
            "micro_batch": ground.micro_batch.size,
            "validation": None if validated is None else validated.metrics,
            "test": None if tested is None else tested.metrics,
            "seconds": round(course.seconds, 2),
        }
        ground.phase("saving", step=pace.done, total=pace.total)
        files = when_there_is_room(self._lease, lambda: self._save(classifier, data, result))
        figures = list(scalars(course, result))
        files += when_there_is_room(self._lease, lambda: self._keep_events(figures))
        tell_wandb(self._settings, self._ground.claim.job, figures, result)
        result = {**result, "files": sorted(files)}
        report_training(
            ground, result, course.points, None if tested is None else (tested.rows, tested.logits)
        )
        log.info("model stored", files=len(files), steps=course.step)
        return result

    def _chosen(self, dataset: Dataset, data: JobData) -> NDArray[np.int64]:
        """Kept by the first attempt: the version may be gone when a later one comes."""
        held = self._ground.checkpoints.read(CHOSEN)
        if held is not None:
            found: NDArray[np.int64] = held["positions"].numpy()
            return found
        positions = self._choose(dataset, data.train, excluding=bool(data.exclusion))
        self._ground.keep(CHOSEN, {"positions": torch.from_numpy(positions)})
        return positions

    def _choose(self, dataset: Dataset, train: Rows, *, excluding: bool) -> NDArray[np.int64]:
        params = self._params
        expression = replace(read_set_expression(params.set), version=params.version)
        if expression.of_ids:
            return of_ids(train, params.ids or [], excluding=excluding)
        positions = members(self._state, dataset, train, expression)
        return as_many(train, positions, params.seed) if expression.random else positions

    def _lineage(self, dataset: Dataset) -> str | None:
        """Whose scores the sets are of; None without sets, or where the version is gone by now."""
        version = self._params.version
        held = {one.version: one.lineage for one in self._state.sets.versions(dataset)}
        return None if version is None else held.get(version)

    # -- what came of it -------------------------------------------------------------------------------------
    def _evaluated(
        self,
        run: FittingRun,
        classifier: LoadedClassifier,
        rows: Rows | None,
        texts: LabelledTexts | None,
        measure: Callable[[Rows], Measure],
    ) -> Evaluated | None:
        if rows is None or texts is None or not len(rows):
            return None
        logits = predicted(self._ground, run, classifier, texts.tokens)
        return Evaluated(rows, logits, measure(rows).of(logits).metrics | {"count": len(rows)})

    def _keep_events(self, figures: Sequence[Scalar]) -> list[str]:
        """Writes what TensorBoard reads; its name. Bears repetition."""
        name = event_log_name(self._ground.claim.job)
        self._ground.results.write(name, event_log(figures))
        return [name]

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
            card = model_card(self._ground.claim.job, data.classes, result)
            (folder / "README.md").write_text(card, encoding="utf-8")
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            for path in files:
                with (
                    self._ground.results.writing(f"{MODEL}/{path.relative_to(folder)}") as stream,
                    path.open("rb") as source,
                ):
                    while chunk := source.read(2**20):
                        stream.write(chunk)
        return [f"{MODEL}/{path.relative_to(folder)}" for path in files]


def _with_pairs(rows: Rows) -> str:
    """Whether "all", "some" or "none" of them have a second text: predictions are to be asked for alike."""
    if rows.text_pairs is None:
        return "none"
    return "some" if None in rows.text_pairs else "all"
