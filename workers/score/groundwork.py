"""What every job that trains and scores does before, around and after its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.contracts import Dataset, Lineage, SetVersion
from app.contracts.params import SortingParams
from app.errors import StaleWorker
from app.settings import Settings
from app.store.layout import SHARD_RECORDS
from app.store.records import Records
from app.store.sets import Placement
from app.store.state import State
from models.batching import LabelledTexts
from models.encoders import LoadedClassifier
from models.gradients.native import use_kernels
from workers.ground import TrainingGround
from workers.lease import JobLease
from workers.score.book import ScoreBook
from workers.score.data import JobData, require_what_the_policy_needs
from workers.score.epoch_visits import EpochVisits
from workers.score.lineages import keep_lineage, open_lineage
from workers.score.room import when_there_is_room
from workers.score.seen import Seen, look
from workers.score.sets import publish_sets
from workers.score.settled import settled_records, unsettled_shards


@dataclass(frozen=True)
class Material:
    """What a job works on. version: of the samples. classifier: as it was loaded. run: its number in the
    lineage. provenance: all of that in words, and the machine."""

    dataset: Dataset
    version: int
    data: JobData
    classifier: LoadedClassifier
    lineage: Lineage
    run: int
    train: LabelledTexts
    validation: LabelledTexts | None
    seen: Seen
    provenance: Mapping[str, Any]


class Groundwork(TrainingGround):
    """Of a job that scores and sorts."""

    params: SortingParams

    def __init__(self, state: State, settings: Settings, lease: JobLease, params: SortingParams) -> None:
        super().__init__(state, settings, lease, params)

    def prepare(self) -> Material:
        """Everything until the first step. Raises what the lease raises, and what the client can act on."""
        self.phase("loading")
        dataset = self.dataset()
        self.hold(dataset)
        version, data = self.read(dataset)
        require_what_the_policy_needs(self.params, data)
        classifier = self.load_model(len(data.classes))
        lineage, run = self._open_lineage(dataset, classifier)
        told = self.provenance(version, data, classifier)
        deltas = self.state.archive.of_dataset(dataset).deltas(lineage.id)
        when_there_is_room(self.lease, lambda: deltas.write_provenance(run, self.claim.token, told))
        self.phase("tokenizing")
        train = self.tokenized(classifier, data.train)
        validation = None if data.validation is None else self.tokenized(classifier, data.validation)
        seen = look(self.params, classifier, data, train, validation, self.artifacts, self.lease)
        use_kernels(self.settings.cpu_kernels)
        return Material(dataset, version, data, classifier, lineage, run, train, validation, seen, told)

    def hold(self, dataset: Dataset) -> None:
        """Registers this worker as the one that writes; again, where the server lost its tail.

        Raises:
            StaleWorker: the job is another worker's by now.
        """
        self.lease.hold()
        self.state.datasets.take_fence(dataset.uid, self.claim.token)

    def open_book(self, material: Material, ordinals: int, records: Records | None) -> ScoreBook:
        """The book with these records of a checkpoint; without one, with those that the job first found.

        ordinals: how many the dataset has given out.
        """
        dataset, lineage, run = material.dataset, material.lineage, material.run
        unsettled = unsettled_shards(self.state, dataset, lineage.id, ordinals, run)
        if records is None:
            records = self._base(dataset, lineage, run, ordinals, unsettled)
        book = ScoreBook(
            self.state,
            dataset_uid=dataset.uid,
            lineage=lineage.id,
            fence=self.claim.token,
            run=run,
            records=records,
            hold=lambda: self.hold(dataset),
        )
        book.touch((material.data.train.ordinals // SHARD_RECORDS).tolist())
        book.touch(unsettled)
        return book

    def open_visits(self, material: Material, state: dict[str, Any] | None) -> EpochVisits:
        """The visits that are not stored yet, as a checkpoint left them, or none."""
        return EpochVisits(
            self.state.archive.of_dataset(material.dataset).deltas(material.lineage.id),
            run=material.run,
            fence=self.claim.token,
            job=self.claim.job.id,
            state=state,
        )

    def publish(
        self, material: Material, placement: Placement, turn: Mapping[str, Any] | None = None
    ) -> SetVersion:
        """Makes the placement the current version, once; turn: see `publish_sets`."""
        dataset = material.dataset

        def publish() -> SetVersion:
            return publish_sets(
                self.state, dataset, self.claim, material.lineage.id, self.params, placement, turn
            )

        def as_the_one_who_writes() -> SetVersion:
            try:
                return publish()
            except StaleWorker:
                self.hold(dataset)
                return publish()

        return self.when_free(as_the_one_who_writes)

    def close_run(self, material: Material, book: ScoreBook, visits: EpochVisits) -> None:
        """Makes Redis and the files agree on what the run came to. The lineage is noted again, for a server
        that lost even what was on its disk."""
        when_there_is_room(self.lease, visits.end_broken_epoch)
        keep_lineage(self.state, material.dataset, self.claim, material.lineage)
        book.close()
        when_there_is_room(self.lease, lambda: visits.close(book.touched))

    def _open_lineage(self, dataset: Dataset, classifier: LoadedClassifier) -> tuple[Lineage, int]:
        """On disk before there is a visit: a number of a run is never given out again."""

        def write() -> tuple[Lineage, int]:
            return open_lineage(self.state, dataset, self.claim, self.params, classifier)

        return self.when_free(lambda: self.state.durably(write))

    def _base(
        self, dataset: Dataset, lineage: Lineage, run: int, ordinals: int, unsettled: set[int]
    ) -> Records:
        """The records that the job first found: kept by its first attempt, or settled now.

        Without them no later attempt could tell old visits from new ones.
        """
        kept = self.checkpoints.load_base(ordinals)
        if kept is not None:
            return kept
        records = settled_records(self.state, dataset, lineage.id, ordinals, unsettled, run=run)
        when_there_is_room(self.lease, lambda: self.checkpoints.save_base(records))
        return records
