"""The state and the lease of a job, and what every kind of job, or every one that trains, does with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from app.contracts import Dataset, Progress
from app.contracts.params import FittingPeftParams, TrainingParams
from app.errors import Conflict, NotFound
from app.ingest.writing import Checked, Ingest, Outcome
from app.logs import get_logger
from app.settings import Settings
from app.store.artifacts import ArtifactStore
from app.store.model_places import find_model
from app.store.state import State
from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, LoadedModel, load_classifier
from models.encoders.adapters import LoraSettings, add_lora
from models.encoders.adaptive_ranks import AdaLoraSettings, add_adalora
from models.encoders.language import EncoderState, LoadedLanguageModel, adopt_encoder, load_language_model
from models.memory import MicroBatch
from workers.lease import JobLease
from workers.provenance import provenance
from workers.score.checkpoint import Checkpoints
from workers.score.data import JobData, Rows, load_job_data
from workers.score.exclusion import exclusion_of
from workers.score.room import when_there_is_room

MICRO_BATCH = "micro-batch"
T = TypeVar("T")
log = get_logger(__name__)


class Ground:
    """artifacts: the job's files until it has ended. results: those that it leaves."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self.state = state
        self.settings = settings
        self.lease = lease
        self.claim = lease.claim
        self.artifacts = ArtifactStore(settings.data_url, self.claim.job.id)
        self.results = state.results.of_job(self.claim.dataset_uid, self.claim.job.id)

    def phase(self, phase: str, *, step: int = 0, total: int = 0) -> None:
        """What was learned until here stays to be seen."""
        fraction, before = 0.98 if total else 0.0, self.lease.progress
        at = {"step": step, "total_steps": total, "fraction": fraction}
        self.lease.check(Progress(phase=phase, loss=before.loss, metric=before.metric, **at))

    def dataset(self) -> Dataset:
        dataset = self.state.datasets.by_uid(self.claim.dataset_uid)
        if dataset is None:
            raise NotFound("unknown_dataset", "the dataset was deleted while the job waited")
        return dataset

    def store(self, dataset: Dataset, batch: Sequence[Checked]) -> Outcome:
        """Stores one batch of samples; waits for room, and for its turn."""

        def write() -> Outcome:  # by a new one each time: it refuses what it was given before
            return Ingest(self.state, self.settings, dataset).store(batch)

        return self.when_free(lambda: when_there_is_room(self.lease, write))

    def when_free(self, write: Callable[[], T]) -> T:
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
                self.lease.check()


class TrainingGround(Ground):
    """Of a job that trains."""

    def __init__(self, state: State, settings: Settings, lease: JobLease, params: TrainingParams) -> None:
        super().__init__(state, settings, lease)
        self.params = params
        self.checkpoints = Checkpoints(self.artifacts, settings.checkpoint_seconds)
        kept = self.artifacts.read(MICRO_BATCH)
        self.micro_batch = MicroBatch(None if kept is None else int(kept), self._shrunk)

    def _shrunk(self, size: int) -> None:
        """Later trainings and attempts of the job do not try the larger size again."""
        log.warning("memory does not suffice: the micro-batch is halved", micro_batch=size)
        try:
            self.artifacts.write(MICRO_BATCH, b"%d" % size)
        except OSError as error:
            log.warning("the micro-batch could not be kept", error=str(error))

    def keep(self, name: str, held: dict[str, Any]) -> None:
        """Writes what a later attempt could not find again; waits while the disk is full."""
        when_there_is_room(self.lease, lambda: self.checkpoints.write(name, held))

    def load_model(
        self, classes: int, *, seed: int | None = None, encoder: EncoderState | None = None
    ) -> LoadedClassifier:
        """Anew, with what is drawn for it (a head, adapters) by this seed, or by the job's.

        encoder: in place of the one in the files.
        """
        seed = self.params.seed if seed is None else seed
        place = find_model(self.claim.job.model, self.settings)
        classifier = load_classifier(
            place.source,
            num_labels=classes,
            seed=seed,
            config_overrides=self.params.model_config_,
            local_files_only=place.local,
            max_bytes=self.settings.max_model_bytes,
        )
        if encoder is not None:
            adopt_encoder(classifier.model, encoder)
        return self._with_adapters(classifier, seed)

    def _with_adapters(self, classifier: LoadedClassifier, seed: int) -> LoadedClassifier:
        given = self.params.peft
        if given is None:
            return classifier
        shared = LoraSettings(given.r, given.lora_alpha, given.lora_dropout, given.target_modules)
        if not isinstance(given, FittingPeftParams) or given.method == "lora":
            add_lora(classifier.model, shared, seed=seed)
            return classifier
        adaptive = AdaLoraSettings.of(shared, init_r=given.init_r, orth_reg_weight=given.orth_reg_weight)
        add_adalora(classifier.model, adaptive, seed=seed)
        return replace(classifier, adaptive=adaptive)

    def load_language_model(self) -> LoadedLanguageModel:
        place = find_model(self.claim.job.model, self.settings)
        return load_language_model(
            place.source,
            seed=self.params.seed,
            config_overrides=self.params.model_config_,
            local_files_only=place.local,
            max_bytes=self.settings.max_model_bytes,
        )

    def read(self, dataset: Dataset) -> tuple[int, JobData]:
        """The version of the samples that the job works on, the same for every attempt, and its rows.

        From here on no rule may replace the dataset's splits. Raises JobFailed where one is half applied.
        """
        self.state.splits.refuse_half_applied(dataset)
        version = self.state.samples.pin(dataset, self.claim.job.id)
        exclusion = exclusion_of(self.state, dataset, self.claim)
        data = load_job_data(self.state, dataset, version, self.params, exclusion)
        if self.state.splits.used_by(dataset) is None:
            self.when_free(lambda: self._mark_splits_used(dataset))
        return version, data

    def _mark_splits_used(self, dataset: Dataset) -> None:
        since = self.state.durability.incarnation()
        with self.state.datasets.writing(dataset):
            self.state.splits.mark_used(dataset, self.claim.job.id)
            self.state.archive.save_manifest(dataset)
        self.state.make_durable(since=since)

    def provenance(self, version: int, data: JobData, classifier: LoadedClassifier) -> dict[str, Any]:
        """Where the job's numbers come from."""
        job = self.claim.job
        return provenance(job.id, job.model, self.params, version, data, classifier)

    def tokenized(self, model: LoadedModel, rows: Rows) -> LabelledTexts:
        tokens = tokenize(
            model.tokenizer,
            rows.texts,
            rows.text_pairs,
            model.clamp_length(self.params.max_length),
            on_chunk=lambda _: self.lease.step(preparing=True),
        )
        return LabelledTexts(tokens, rows.labels, rows.queries)
