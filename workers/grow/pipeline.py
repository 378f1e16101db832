"""The `grow` job from its claim to its result."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import GrowParams
from app.errors import JobFailed
from app.logs import get_logger
from app.settings import Settings
from app.store.state import State
from models.errors import ModelError
from models.selection import Grower, Growth
from workers.grow.grown import Grown
from workers.grow.plan import Plan, best_round
from workers.grow.rounds import Rounds
from workers.lease import BudgetExceeded, JobCancelled, JobLease
from workers.report.sorting import report_sorting
from workers.score.description import described
from workers.score.evidence import evidence_of, reviewed_of
from workers.score.groundwork import Groundwork, Material
from workers.score.hearing import Hearing
from workers.score.judging import know
from workers.score.room import when_there_is_room
from workers.train.fitting import MAX_MINUTES

Ints = NDArray[np.int64]
log = get_logger(__name__)


class GrowJob:
    """Each round trains a model on the core and another on as many random samples, visits all other samples,
    judges the labels anew, quarantines and promotes, and publishes a set version."""

    def __init__(self, state: State, settings: Settings, lease: JobLease) -> None:
        self._state = state
        self._lease = lease
        self._params = GrowParams.model_validate(lease.claim.job.params)
        self._ground = Groundwork(state, settings, lease, self._params)
        self._grower = Grower(self._params.noise_fraction, self._params.seed)

    def run(self) -> dict[str, Any]:
        """The job's `result`.

        Raises:
            JobCancelled, JobInterrupted, StaleWorker: from the lease; an interrupted job can be resumed.
            GradSiftError, ModelError: what the client can act on.
        """
        ground, material = self._ground, self._ground.prepare()
        plan = Plan(self._params, len(material.train))
        ordinals = self._state.datasets.next_ordinal(material.dataset)
        grown = Grown.load(ground.checkpoints, ordinals) or self._begin(material, plan)
        book = ground.open_book(material, ordinals, grown.records)
        visits = ground.open_visits(material, grown.files)
        rounds = Rounds(ground, material, plan, self._grower, book, visits)
        try:
            while (stopped := self._why_stop(plan, grown)) is None:
                try:
                    grown = rounds.next(grown)
                except BudgetExceeded:
                    if not grown.rounds:
                        raise
                    visits.forget()  # of the round that is given up
                    stopped = "minutes"
                    break
                self._keep(grown)
        except (JobCancelled, JobFailed, ModelError):
            visits.forget()
            ground.close_run(material, book, visits)  # the rounds that have ended count
            raise
        ground.phase("sets", step=grown.steps, total=plan.total_steps())
        self._state.durably(lambda: ground.close_run(material, book, visits))
        log.info("grown", rounds=grown.turn, stopped=stopped)
        sets = self._state.sets.version(material.dataset, grown.rounds[-1]["set_version"])
        result = {
            **described(material, grown.coverage, sets),
            "rounds": grown.rounds,
            "stopped": stopped,
            "stopped_by": MAX_MINUTES if stopped == "minutes" else None,
            "best_round": best_round(grown.rounds, self._params.min_gain),
            "micro_batch": ground.micro_batch.size,
            "noise": grown.rounds[-1]["noise"],
            "steps": grown.steps,
            "visits": grown.visits,
            "seconds": round(grown.seconds, 2),
        }
        report_sorting(ground, material.dataset, material.data, book.records, result)
        return result

    def _begin(self, material: Material, plan: Plan) -> Grown:
        """The first core: by what is known before anything was trained."""
        started = time.monotonic()
        train, seen, count = material.data.train, material.seen, len(material.train)
        texts = list(zip(train.texts, train.text_pairs or [None] * count, strict=True))
        everyone = np.arange(count)
        evidence = evidence_of(train.ids, train.labels, texts, train.groups, np.zeros(count), seen, everyone)
        reviewed = reviewed_of(self._state, material.dataset, train.ordinals, train.generations)
        known = know(evidence, self._params, seen.validation, reviewed)
        looked = self._grower.look(known.evidence, Growth.of_nothing(count))
        growth, caution = self._grower.promote(known.evidence, looked, plan.size(1))
        _require_labels(growth, train.labels, self._params)
        plan.require_a_round(int(growth.core.sum()))
        grown = Grown(growth, Hearing.of_nothing(count, len(material.data.classes)), caution=caution.share)
        grown.seconds = time.monotonic() - started
        self._keep(grown)
        return grown

    def _keep(self, grown: Grown) -> None:
        """Any later attempt goes on from here."""
        when_there_is_room(self._lease, lambda: grown.save(self._ground.checkpoints))

    def _why_stop(self, plan: Plan, grown: Grown) -> str | None:
        if not grown.rounds:
            return None
        core, ran = int(grown.growth.core.sum()), self._lease.ran_seconds
        return plan.reason_to_stop(grown.rounds, core, visits=grown.visits, seconds=ran)


def _require_labels(growth: Growth, labels: Ints, params: GrowParams) -> None:
    """Raises JobFailed `core_too_small`: a model cannot learn from one label."""
    first = labels[growth.core]
    if len(np.unique(first)) < 2:
        raise JobFailed(
            "core_too_small",
            f"the first core, {params.initial_fraction:g} of {len(labels)} samples, is {len(first)} samples "
            f"of {len(np.unique(first))} labels",
            remedy="Raise initial_fraction, or send more samples.",
        )
