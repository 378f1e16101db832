"""The `compare` job from its claim to its result."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from app.contracts import Dataset, Task
from app.contracts.params import CompareParams
from app.errors import JobFailed
from app.logs import get_logger
from app.settings import Settings
from app.store.state import State
from models.batching import LabelledTexts
from models.encoders.language import EncoderState
from models.training import FittingRun, pick_device
from workers.compare.plan import Trained, Training, named_members, trainings
from workers.compare.results import compared
from workers.compare.slicing import slicings
from workers.ground import TrainingGround
from workers.lease import BudgetExceeded, JobLease
from workers.measuring import Measure
from workers.report.compare import compare_page
from workers.report.keeping import job_and_result, keep_report
from workers.score.data import JobData
from workers.score.pace import Pace
from workers.score.room import when_there_is_room
from workers.train.domain import DomainPretraining
from workers.train.fitting import MAX_MINUTES, Fitting, predicted

NAMED = "named.pt"
PREDICTIONS = "predictions.parquet"
log = get_logger(__name__)


class CompareJob:
    """Trains a model for each subset and seed, by equal steps, and says which does better on the test split.

    What each training came to is kept in a file of its own, so a job that is killed goes on within the one
    that it was in.
    """

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state = state
        self._lease = lease
        self._params = CompareParams.model_validate(lease.claim.job.params)
        self._ground = TrainingGround(state, settings, lease, self._params)
        self._encoder: EncoderState | None = None

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
        if data.test is None:
            raise JobFailed("no_test", f"dataset {dataset.name!r} has no labelled samples in its test split")
        measure = Measure(data.test, data.classes, by_query=dataset.task is Task.RELEVANCE)
        _require_enough(measure)
        slices = slicings(self._state, dataset, version, measure, params)
        plan = trainings(self._named(dataset, data), data.train, params)
        classifier = ground.load_model(len(data.classes))
        ground.phase("tokenizing")
        train, test = ground.tokenized(classifier, data.train), ground.tokenized(classifier, data.test)
        domain = DomainPretraining.asked_for(ground, params, dataset, version, data)
        pace = Pace(0, sum(training.steps for training in plan) + (domain.steps if domain else 0))
        adapted = domain.adapted(pace) if domain else None
        self._encoder = adapted.encoder if adapted else None
        ended, stopped_by = self._all_trained(plan, data, train, test, pace)
        ground.phase("comparing", step=pace.done, total=pace.total)
        result = {
            "data_version": version,
            "model_revision": classifier.revision,
            "provenance": ground.provenance(version, data, classifier),
            "domain_pretraining": dict(adapted.told) if adapted else None,
            "labels": list(data.classes),
            "train_samples": len(data.train),
            "test_samples": len(data.test),
            "skipped_unlabelled": data.skipped_unlabelled,
            "excluded": data.excluded,
            **compared(ended, measure, slices, params, self._lease.check),
            "steps": sum(one.training.steps for one in ended),
            "stopped_by": stopped_by,
            "micro_batch": ground.micro_batch.size,
            "seconds": round(sum(one.seconds for one in ended), 2),
            "files": [PREDICTIONS],
        }
        when_there_is_room(self._lease, lambda: self._keep_predictions(ended, data))
        job = ground.claim.job
        keep_report(ground, job_and_result(job, result), compare_page(job, result))
        log.info("compared", trainings=len(ended), steps=pace.done)
        return result

    def _named(self, dataset: Dataset, data: JobData) -> dict[str, NDArray[np.int64]]:
        """Kept by the first attempt: a version may be gone when a later one comes."""
        held = self._ground.checkpoints.read(NAMED)
        if held is not None:
            return {name: positions.numpy() for name, positions in held.items()}
        named = named_members(self._state, dataset, data.train, self._params)
        self._ground.keep(NAMED, {name: torch.from_numpy(positions) for name, positions in named.items()})
        return named

    def _all_trained(
        self, plan: list[Training], data: JobData, train: LabelledTexts, test: LabelledTexts, pace: Pace
    ) -> tuple[list[Trained], str | None]:
        """What was trained, and `max_minutes` where that ended it: then of the seeds that all have."""
        ended: list[Trained] = []
        try:
            for number, training in enumerate(plan, 1):
                ended.append(self._trained(number, training, data, train, test, pace, of=len(plan)))
        except BudgetExceeded:
            whole = len(ended) - len(ended) % len(self._params.subsets)
            if not whole:
                raise
            return ended[:whole], MAX_MINUTES
        return ended, None

    def _trained(
        self,
        number: int,
        training: Training,
        data: JobData,
        train: LabelledTexts,
        test: LabelledTexts,
        pace: Pace,
        *,
        of: int,
    ) -> Trained:
        """One training, or what an earlier attempt has kept of it."""
        file, before = f"trained-{number}.pt", pace.done
        held = self._ground.checkpoints.read(file)
        if held is None:
            pace.phase = f"training {number} of {of}: {training.subset}"
            began = time.monotonic()
            classifier = self._ground.load_model(len(data.classes), seed=training.seed, encoder=self._encoder)
            mine, rows = train.take(training.positions), data.train.take(training.positions)
            run = FittingRun(
                classifier,
                mine,
                None,
                training.config,
                pick_device(),
                grades=data.grades,
                micro_batch=self._ground.micro_batch,
            )
            course = Fitting(self._ground, pace).go(run, rows, name=file)
            logits = predicted(self._ground, run, classifier, test.tokens)
            loss = course.epochs[-1]["train_loss"]
            held = {"logits": torch.from_numpy(logits), "train_loss": loss, "seconds": course.seconds}
            self._ground.keep(file, held)
            log.info("trained", number=number, subset=training.subset, seconds=time.monotonic() - began)
        pace.go_to(before + training.steps)
        self._lease.check(pace.progress())
        return Trained(training, held["logits"].numpy(), held["train_loss"], held["seconds"])

    def _keep_predictions(self, ended: list[Trained], data: JobData) -> None:
        """A row for each test sample: its label, and the class that each model gives it."""
        assert data.test is not None
        names = np.array([str(label) for label in data.classes])
        columns: dict[str, Any] = {"id": data.test.ids, "label": names[data.test.labels].tolist()}
        for one in ended:
            name = f"{one.training.subset}, seed {one.training.seed}"
            columns[name] = names[one.logits.argmax(axis=1)].tolist()
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        self._ground.results.write(PREDICTIONS, buffer.getbuffer())


def _require_enough(measure: Measure) -> None:
    """Raises JobFailed `no_test` where there are fewer than two values to compare."""
    count = len(np.unique(measure.units[measure.units >= 0]))
    if count < 2:
        what = "queries with a relevant sample" if measure.by_query else "labelled samples"
        raise JobFailed("no_test", f"the test split has {count} {what}, too few to compare on")
