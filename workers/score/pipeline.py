"""The `score` job from its claim to its result."""

from __future__ import annotations

import time
from typing import Any

from app.contracts import SetVersion
from app.contracts.params import ScoreParams
from app.errors import JobFailed
from app.logs import get_logger
from app.settings import Settings
from app.store.state import State
from models.errors import ModelError
from models.noise import Reviewed
from models.selection import Evidence
from models.training import ScoringRun, pick_device
from workers.lease import JobCancelled, JobLease
from workers.score.book import ScoreBook
from workers.score.configuration import training_config
from workers.score.description import coverage_told, described
from workers.score.epoch_visits import EpochVisits
from workers.score.groundwork import Groundwork, Material
from workers.score.history import EpochHistory
from workers.score.judging import Judgement, judge
from workers.score.responses import ResponseBook
from workers.score.sets import Ints, place
from workers.score.training import ScoreTraining

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
        ground, material = self._ground, self._ground.prepare()

        def sort(evidence: Evidence, _: Ints, reviewed: Reviewed | None) -> Judgement:
            return judge(evidence, self._params, material.seen.validation, reviewed)

        config = training_config(self._params)
        run = ScoringRun(material.classifier, material.train, material.validation, config, pick_device())
        training, book, history, visits = self._resume_or_begin(material, run)
        try:
            training.go(self._lease, self._settings)
        except (JobCancelled, JobFailed, ModelError):
            ground.close_run(book, visits)  # the visits until here count
            raise
        ground.phase("sets", step=training.last_step, total=run.total_steps)
        placement, told = place(self._state, material.dataset, book.records, material.seen, sort)

        def finish() -> tuple[dict[str, Any], SetVersion]:
            ground.close_run(book, visits)
            response = self._keep_responses(material, training.responses)
            return response, ground.publish(material, placement)

        response, sets = self._state.durably(finish)
        log.info("sets published", version=sets.version, sizes=sets.sizes)
        return {
            **described(material, coverage_told(material.classifier, run.coverage), sets),
            "epochs": history.epochs,
            **response,
            **({"noise": told} if told else {}),
            "steps": training.last_step,
            "seconds": round(time.monotonic() - started, 2),
        }

    def _resume_or_begin(
        self, material: Material, run: ScoringRun
    ) -> tuple[ScoreTraining, ScoreBook, EpochHistory, EpochVisits]:
        """Goes on from the checkpoint; without one, from the records that the job first found."""
        ground = self._ground
        ordinals = self._state.datasets.next_ordinal(material.dataset)
        checkpoint = ground.checkpoints.load(ordinals)
        responses = self._responses(material, ordinals)
        if checkpoint is not None:
            if responses is not None and checkpoint.responses is not None:
                responses.load_state(checkpoint.responses)
            run.load_state_dict(checkpoint.training)
            log.info("job resumes", step=checkpoint.step, of=run.total_steps)
        book = ground.open_book(material, ordinals, None if checkpoint is None else checkpoint.records)
        history = EpochHistory(None if checkpoint is None else checkpoint.history)
        visits = ground.open_visits(material, None if checkpoint is None else checkpoint.visits)
        step = 0 if checkpoint is None else checkpoint.step
        training = ScoreTraining(
            run, book, responses, material.data.train, ground.checkpoints, history, visits, from_step=step
        )
        return training, book, history, visits

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
