"""The `score` job from its claim to its result."""

from __future__ import annotations

import io
import time
from typing import Any

import pyarrow.parquet as pq

from app.contracts import SetVersion
from app.contracts.params import ScoreParams
from app.errors import JobFailed
from app.logs import get_logger
from app.settings import Settings
from app.store.state import State
from models.errors import ModelError
from models.noise import Reviewed
from models.selection import Evidence
from models.training import ScoringRun, TrainingConfig, pick_device
from workers.lease import JobCancelled, JobLease
from workers.report.sorting import report_sorting
from workers.score.books import Books
from workers.score.checkpoint import Checkpoint
from workers.score.configuration import training_config, with_seed
from workers.score.cross_fit import CrossFit
from workers.score.description import coverage_told, described
from workers.score.groundwork import Groundwork, Material
from workers.score.history import EpochHistory
from workers.score.judging import Judgement, judge
from workers.score.pace import Pace
from workers.score.repeats import FILE, Repeats
from workers.score.responses import ResponseBook
from workers.score.sets import Ints, place
from workers.score.training import ScoreTraining
from workers.score.updating import Chosen, Update, choose, keep_weights
from workers.score.views import Sight, ViewBook, keep_explanation

log = get_logger(__name__)


class ScoreJob:
    """Fine-tunes on the train split, records every visit, and sorts the samples into sets."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state = state
        self._settings = settings
        self._lease = lease
        self._params = ScoreParams.model_validate(lease.claim.job.params)
        self._ground = Groundwork(state, settings, lease, self._params)

    def run(self) -> dict[str, Any]:
        """The job's `result`.

        Raises:
            JobCancelled, JobInterrupted, StaleWorker: from the lease; an interrupted job can be resumed.
            GradSiftError, ModelError: what the client can act on.
        """
        started = time.monotonic()
        ground, material, params = self._ground, self._ground.prepare(), self._params
        config = training_config(params)
        books, chosen, left = self._open_books(material)
        update = Update(ground, material, chosen) if params.update else None
        cross_fit = CrossFit(ground, material, params.cross_fit)
        steps = config.num_train_epochs * config.steps_per_epoch(len(chosen.positions))
        pace = Pace(0, cross_fit.steps + params.seeds * steps)
        heard = cross_fit.hear(pace)
        training = ScoreTraining(
            lambda number: self._begin(material, chosen, config, number),
            books,
            ground.checkpoints,
            left,
            runs=params.seeds,
            epochs=config.num_train_epochs,
        )
        try:
            training.go(self._lease, self._settings, pace)
        except (JobCancelled, JobFailed, ModelError):
            ground.close_run(material, books.scores, books.visits)  # the visits until here count
            raise
        ground.phase("sets", step=pace.done, total=pace.total)

        def sort(evidence: Evidence, where: Ints, reviewed: Reviewed | None) -> Judgement:
            logs = None if heard is None else heard.logs[where]
            return judge(evidence, params, material.seen.validation, reviewed, logs)

        exclusion = material.data.exclusion
        placement, told = place(
            self._state, material.dataset, books.scores.records, material.seen, sort, exclusion
        )
        if heard is not None:
            told = {**told, "cross_fit": heard.told}

        def finish() -> tuple[dict[str, Any], SetVersion]:
            ground.close_run(material, books.scores, books.visits)
            kept = self._keep_responses(material, books.responses) | self._keep_repeats(books)
            return kept, ground.publish(material, placement)

        kept, sets = self._state.durably(finish)
        log.info("sets published", version=sets.version, sizes=sets.sizes)
        result = {
            **described(material, coverage_told(material.classifier, training.coverage), sets),
            "epochs": books.history.epochs,
            **kept,
            **({"noise": told} if told else {}),
            **({} if update is None else {"update": update.told()}),
            "steps": len(books.history.epochs) * config.steps_per_epoch(len(chosen.positions))
            + training.broken_steps,
            "stopped_by": training.stopped_by,
            "micro_batch": ground.micro_batch.size,
            "seconds": round(time.monotonic() - started, 2),
        }
        run = training.last
        assert run is not None
        if params.keep_model or params.update:
            keep_weights(ground, run.model)
        sight = Sight.at_the_end(ground, material, run, None if params.update else books.views)
        keep_explanation(ground, material, sight)
        report_sorting(ground, material.dataset, material.data, books.scores.records, result)
        return result

    def _begin(self, material: Material, chosen: Chosen, config: TrainingConfig, number: int) -> ScoringRun:
        """The job's run of this number: the first trains the model that was looked through already."""
        config, classifier = with_seed(config, number), material.classifier
        if number > 0:
            classifier = self._ground.load_model(len(material.data.classes), seed=config.seed)
        train, micro_batch = chosen.of(material.train), self._ground.micro_batch
        return ScoringRun(classifier, train, material.validation, config, pick_device(), micro_batch)

    def _open_books(self, material: Material) -> tuple[Books, Chosen, Checkpoint | None]:
        """As the checkpoint left them; without one, from the records that the job first found. And what of
        the samples the job trains on."""
        ground = self._ground
        ordinals = self._state.datasets.next_ordinal(material.dataset)
        left = ground.checkpoints.load(ordinals)
        held = {} if left is None else left.books
        responses = self._responses(material, ordinals)
        if responses is not None and held.get("responses") is not None:
            responses.load_state(held["responses"])
        scores = ground.open_book(material, ordinals, None if left is None else left.records)
        chosen = choose(ground, material, scores.records, self._params)
        repeats = Repeats(len(chosen.positions)) if self._params.seeds > 1 else None
        if repeats is not None and held.get("repeats") is not None:
            repeats.load_state(held["repeats"])
        views = ViewBook(len(chosen.positions))
        views.load_state(held.get("views"))
        books = Books(
            train=chosen.of(material.data.train),
            scored=chosen.scored,
            scores=scores,
            visits=ground.open_visits(material, held.get("visits")),
            history=EpochHistory(held.get("history")),
            responses=responses,
            repeats=repeats,
            views=views,
        )
        return books, chosen, left

    def _responses(self, material: Material, ordinals: int) -> ResponseBook | None:
        """What earlier runs of the lineage left, to go on from; None unless they are asked for."""
        if self._params.response != "vector":
            return None
        dim = self._params.projection_dim
        book = ResponseBook(ordinals, dim)
        before = self._state.responses.read_before(
            material.dataset.uid, material.lineage.id, material.run, dim
        )
        if before is not None:
            book.continue_from(before)
        book.name(material.data.train.ordinals, material.data.train.ids)
        return book

    def _keep_responses(self, material: Material, book: ResponseBook | None) -> dict[str, Any]:
        """Writes the run's file, after the score shards, which the fence guards; the result's part on it."""
        if book is None:
            return {}
        place = self._state.responses.write(
            material.dataset.uid, material.lineage.id, material.run, book.dim, book.table()
        )
        return {"response": {"artifact": place, **book.summary(material.data.train.ordinals)}}

    def _keep_repeats(self, books: Books) -> dict[str, Any]:
        """Writes what each run came to, where there are several; the result's part on it."""
        if books.repeats is None:
            return {}
        buffer = io.BytesIO()
        pq.write_table(books.repeats.table(books.train), buffer, compression="zstd")
        self._ground.results.write(FILE, buffer.getbuffer())
        return {"stability": books.repeats.told()}
