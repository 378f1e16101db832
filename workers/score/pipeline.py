"""The `score` job from its claim to its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from app.contracts import Dataset, Lineage, Progress, SetVersion
from app.contracts.params import ScoreParams
from app.errors import Conflict, JobFailed, NotFound, StaleWorker
from app.logs import get_logger
from app.settings import Settings
from app.store.artifacts import ArtifactStore
from app.store.layout import SHARD_RECORDS
from app.store.model_places import find_model
from app.store.records import Records
from app.store.sets import Placement
from app.store.state import State
from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.encoders.adapters import LoraSettings, add_lora
from models.errors import ModelError
from models.gradients.native import use_kernels
from models.training import ScoringRun, TrainingConfig, pick_device
from workers.lease import JobCancelled, JobLease
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints
from workers.score.data import JobData, Rows, load_job_data, require_what_the_policy_needs
from workers.score.description import described
from workers.score.epoch_visits import EpochVisits
from workers.score.history import EpochHistory
from workers.score.lineages import open_lineage
from workers.score.responses import ResponseBook
from workers.score.room import when_there_is_room
from workers.score.seen import look
from workers.score.sets import place, publish_sets
from workers.score.settled import settled_records, unsettled_shards
from workers.score.training import ScoreTraining

T = TypeVar("T")
log = get_logger(__name__)


class ScoreJob:
    """Fine-tunes on the train split, records every visit, and sorts the samples into sets."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state = state
        self._settings = settings
        self._lease = lease
        self._claim = lease.claim
        self._params = ScoreParams.model_validate(self._claim.job.params)
        self._artifacts = ArtifactStore(settings.data_url, self._claim.job.id)
        self._checkpoints = Checkpoints(self._artifacts, settings.checkpoint_seconds)

    def run(self) -> dict[str, Any]:
        """The job's `result`.

        Raises:
            JobCancelled, JobInterrupted, StaleWorker: from the lease; an interrupted job can be resumed.
            GradSiftError, ModelError: what the client can act on.
        """
        started = time.monotonic()
        self._phase("loading")
        dataset = self._dataset()
        self._hold(dataset)
        version = self._state.samples.pin(dataset, self._claim.job.id)
        data = load_job_data(self._state, dataset, version, self._params)
        require_what_the_policy_needs(self._params, data)
        classifier = self._load_model(len(data.classes))
        lineage, run_number = self._when_free(
            lambda: open_lineage(self._state, dataset, self._claim, self._params, classifier)
        )
        self._phase("tokenizing")
        train = self._tokenized(classifier, data.train)
        validation = None if data.validation is None else self._tokenized(classifier, data.validation)
        seen = look(self._params, classifier, data, train, validation, self._artifacts, self._lease)
        use_kernels(self._settings.cpu_kernels)
        run = ScoringRun(classifier, train, validation, _training_config(self._params), pick_device())
        training, book, history, visits = self._resume_or_begin(dataset, lineage, run_number, run, data)
        try:
            training.go(self._lease, self._settings)
        except (JobCancelled, JobFailed, ModelError):
            self._close_run(book, visits)  # the visits until here count
            raise
        self._phase("sets", step=training.last_step, total=run.total_steps)
        placement, told = place(self._state, dataset, self._params, book.records, seen)

        def finish() -> tuple[dict[str, Any], SetVersion]:
            self._close_run(book, visits)
            response = self._keep_responses(dataset, lineage, run_number, training.responses, data)
            return response, self._when_free(lambda: self._publish_sets(dataset, lineage, placement))

        response, sets = self._state.durably(finish)
        log.info("sets published", version=sets.version, sizes=sets.sizes)
        return {
            **described(data, classifier, run, sets, lineage, history),
            **response,
            **({"noise": told} if told else {}),
            "steps": training.last_step,
            "data_version": version,
            "seconds": round(time.monotonic() - started, 2),
        }

    def _hold(self, dataset: Dataset) -> None:
        """Registers this worker as the one that writes; again, where the server lost its tail.

        Raises:
            StaleWorker: the job is another worker's by now.
        """
        self._lease.hold()
        self._state.datasets.take_fence(dataset.uid, self._claim.token)

    def _when_free(self, write: Callable[[], T]) -> T:
        """Writes to the dataset; waits while another process writes to it, or died while it did.

        A server that goes back to before the write has forgotten who writes: then it is written again.
        """
        while True:
            try:
                return write()
            except Conflict as error:
                if error.code != "dataset_busy":
                    raise
                log.info("the job waits for whoever writes samples", detail=error.detail)
                self._lease.check()

    def _publish_sets(self, dataset: Dataset, lineage: Lineage, placement: Placement) -> SetVersion:
        def publish() -> SetVersion:
            return publish_sets(self._state, dataset, self._claim, lineage.id, self._params, placement)

        try:
            return publish()
        except StaleWorker:
            self._hold(dataset)
            return publish()

    def _phase(self, phase: str, *, step: int = 0, total: int = 0) -> None:
        fraction = 0.98 if total else 0.0
        self._lease.check(Progress(phase=phase, step=step, total_steps=total, fraction=fraction))

    def _dataset(self) -> Dataset:
        dataset = self._state.datasets.by_uid(self._claim.dataset_uid)
        if dataset is None:
            raise NotFound("unknown_dataset", "the dataset was deleted while the job waited")
        return dataset

    def _load_model(self, classes: int) -> LoadedClassifier:
        place = find_model(self._claim.job.model, self._settings)
        classifier = load_classifier(
            place.source,
            num_labels=classes,
            seed=self._params.seed,
            config_overrides=self._params.model_config_,
            local_files_only=place.local,
        )
        if self._params.peft is not None:
            adapters = LoraSettings(**self._params.peft.model_dump(exclude={"method"}))
            add_lora(classifier.model, adapters, seed=self._params.seed)
        return classifier

    def _tokenized(self, classifier: LoadedClassifier, rows: Rows) -> LabelledTexts:
        tokens = tokenize(
            classifier.tokenizer,
            rows.texts,
            rows.text_pairs,
            classifier.clamp_length(self._params.max_length),
            on_chunk=lambda _: self._lease.check(),
        )
        return LabelledTexts(tokens, rows.labels)

    def _resume_or_begin(
        self, dataset: Dataset, lineage: Lineage, run_number: int, run: ScoringRun, data: JobData
    ) -> tuple[ScoreTraining, ScoreBook, EpochHistory, EpochVisits]:
        """Goes on from the checkpoint; without one, from the records that the job first found."""
        state = self._state
        ordinals = state.datasets.next_ordinal(dataset)
        unsettled = unsettled_shards(state, dataset, lineage.id, ordinals, run_number)
        checkpoint = self._checkpoints.load(ordinals)
        responses = self._responses(dataset, lineage, run_number, data, ordinals)
        if checkpoint is not None:
            if responses is not None and checkpoint.responses is not None:
                responses.load_state(checkpoint.responses)
            run.load_state_dict(checkpoint.training)
            log.info("job resumes", step=checkpoint.step, of=run.total_steps)
            records = checkpoint.records
        else:
            records = self._base(dataset, lineage, run_number, ordinals, unsettled)
        book = ScoreBook(
            state,
            dataset_uid=dataset.uid,
            lineage=lineage.id,
            fence=self._claim.token,
            run=run_number,
            records=records,
            hold=lambda: self._hold(dataset),
        )
        book.touch((data.train.ordinals // SHARD_RECORDS).tolist())
        book.touch(unsettled)
        history = EpochHistory(None if checkpoint is None else checkpoint.history)
        visits = EpochVisits(
            state.archive.of_dataset(dataset).deltas(lineage.id),
            run=run_number,
            fence=self._claim.token,
            job=self._claim.job.id,
            state=None if checkpoint is None else checkpoint.visits,
        )
        step = 0 if checkpoint is None else checkpoint.step
        training = ScoreTraining(
            run, book, responses, data.train, self._checkpoints, history, visits, from_step=step
        )
        return training, book, history, visits

    def _responses(
        self, dataset: Dataset, lineage: Lineage, run_number: int, data: JobData, ordinals: int
    ) -> ResponseBook | None:
        """What earlier runs of the lineage left, to go on from; None unless they are asked for."""
        if self._params.response != "vector":
            return None
        dim = self._params.projection_dim
        book = ResponseBook(ordinals, dim)
        before = self._state.responses.read_before(dataset.uid, lineage.id, run_number, dim)
        if before is not None:
            book.continue_from(before)
        book.name(data.train.ordinals, data.train.ids)
        return book

    def _keep_responses(
        self, dataset: Dataset, lineage: Lineage, run_number: int, book: ResponseBook | None, data: JobData
    ) -> dict[str, Any]:
        """Writes the run's file, after the score shards, which the fence guards; the result's part on it."""
        if book is None:
            return {}
        place = self._state.responses.write(dataset.uid, lineage.id, run_number, book.dim, book.table())
        return {"response": {"artifact": place, **book.summary(data.train.ordinals)}}

    def _base(
        self, dataset: Dataset, lineage: Lineage, run_number: int, ordinals: int, unsettled: set[int]
    ) -> Records:
        """The records that the job first found: kept by its first attempt, or settled now.

        Without them no later attempt could tell old visits from new ones.
        """
        kept = self._checkpoints.load_base(ordinals)
        if kept is not None:
            return kept
        records = settled_records(self._state, dataset, lineage.id, ordinals, unsettled, run=run_number)
        when_there_is_room(self._lease, lambda: self._checkpoints.save_base(records))
        return records

    def _close_run(self, book: ScoreBook, visits: EpochVisits) -> None:
        """Makes Redis and the files agree on what the run came to."""
        when_there_is_room(self._lease, visits.end_broken_epoch)
        book.close()
        when_there_is_room(self._lease, lambda: visits.close(book.touched))


def _training_config(params: ScoreParams) -> TrainingConfig:
    return TrainingConfig(
        num_train_epochs=params.num_train_epochs,
        learning_rate=params.learning_rate,
        per_device_train_batch_size=params.per_device_train_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        warmup_ratio=params.warmup_ratio,
        weight_decay=params.weight_decay,
        optim=params.optim,
        lr_scheduler_type=params.lr_scheduler_type,
        max_grad_norm=params.max_grad_norm or None,
        seed=params.seed,
        bf16=params.bf16,
        fp16=params.fp16,
        early_stopping_patience=params.early_stopping_patience,
        max_length=params.max_length,
        alignment_steps=params.alignment_steps,
        projection_dim=params.projection_dim if params.response == "vector" else None,
    )
