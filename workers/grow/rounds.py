"""One round of a grow job after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts import SetVersion
from app.logs import get_logger
from app.store.deltas import visits_of_rows
from app.store.sets import Placement
from models.noise import Reviewed
from models.selection import Evidence, Grower, Growth, drawn, random_by_label, sorted_by_growth
from workers.grow.grown import Grown, Hearing
from workers.grow.plan import Plan
from workers.grow.teaching import Taught, Teaching
from workers.score.book import ScoreBook
from workers.score.description import coverage_told
from workers.score.epoch_visits import EpochVisits
from workers.score.groundwork import Groundwork, Material
from workers.score.judging import Judgement, know
from workers.score.pace import Pace
from workers.score.recording import naming
from workers.score.room import when_there_is_room
from workers.score.sets import place

NAMED = 100
"""Samples that left the core are named in the result, so many of them a round."""
Ints = NDArray[np.int64]
log = get_logger(__name__)


@dataclass
class Turn:
    """How the samples stand after a round. looked: with the round's own core, less what was quarantined.
    promoted: with the next round's core."""

    looked: Growth
    promoted: Growth
    caution: float = 0.0


class Rounds:
    """Takes a job from one round to the next."""

    def __init__(
        self,
        ground: Groundwork,
        material: Material,
        plan: Plan,
        grower: Grower,
        book: ScoreBook,
        visits: EpochVisits,
    ) -> None:
        self._ground = ground
        self._material = material
        self._plan = plan
        self._grower = grower
        self._book = book
        self._visits = visits

    def next(self, grown: Grown) -> Grown:
        """How the job stands after one more round, whose scores and sets are published then.

        Raises what the lease raises, and ModelError or JobFailed where the training does.
        """
        started, turn = time.monotonic(), grown.turn + 1
        core = np.flatnonzero(grown.growth.core)
        control = self._control(len(core), turn)
        epochs = self._plan.epochs(len(core))
        pace = Pace(grown.steps, self._plan.total_steps())
        teaching = Teaching(self._ground, self._material, self._visits, pace, turn=turn)
        pace.phase = f"round {turn}: core"
        taught = teaching.teach("core", core, epochs, recording=True)
        pace.phase = f"round {turn}: random control"
        compared = teaching.teach("control", control, epochs, recording=False)
        pace.phase = f"round {turn}: sets"
        self._ground.lease.check(pace.progress())
        hearing = Hearing(grown.hearing.sums.copy(), grown.hearing.times.copy())
        for one in (taught, compared):
            hearing.add(one.others, one.logits)
        self._count_visits()
        now = Turn(grown.growth, grown.growth)

        def sort(evidence: Evidence, where: Ints, reviewed: Reviewed | None) -> Judgement:
            """Of the samples that are still as they were when the job began; the others leave the core."""
            known = know(
                evidence,
                self._ground.params,
                self._material.seen.validation,
                reviewed,
                hearing.means()[where],
            )
            before = replace(grown.growth, core=np.zeros_like(grown.growth.core))
            looked = self._grower.look(known.evidence, grown.growth.take(where))
            promoted, caution = self._grower.promote(known.evidence, looked, self._size_after(turn))
            now.looked, now.promoted = before.put(where, looked), before.put(where, promoted)
            now.caution = caution.share
            return known.judgement(sorted_by_growth(known.evidence, looked))

        placement, told = place(
            self._ground.state, self._material.dataset, self._book.records, self._material.seen, sort
        )
        held = {
            "round": turn,
            "core": int(now.looked.core.sum()),
            "promoted": int(now.promoted.core.sum() - now.looked.core.sum()),
            "quarantined": int((now.looked.noise > 0).sum() - (grown.growth.noise > 0).sum()),
            "left_core": self._names(np.flatnonzero(grown.growth.core & ~now.looked.core)),
            "trained_on": len(core),
            "epochs": epochs,
            "caution": grown.caution,
            **_compared(grown, taught, compared),
            "noise": told,
        }
        version = self._publish(placement, turn, held)
        log.info("round ended", **{name: held[name] for name in ("round", "core", "gain", "lead")})
        seconds = time.monotonic() - started
        visits = self._plan.visits(len(core))
        held |= {"set_version": version.version, "sets": version.sizes}
        held |= {"visits": visits, "seconds": round(seconds, 2)}
        return Grown(
            growth=now.promoted,
            hearing=hearing,
            turn=turn,
            rounds=[*grown.rounds, held],
            told=dict(told),
            coverage=coverage_told(self._material.classifier, taught.coverage),
            caution=now.caution,
            visits=grown.visits + visits,
            steps=pace.done,
            seconds=grown.seconds + seconds,
            files=self._visits.state(),
            records=self._book.records,
        )

    def _control(self, places: int, turn: int) -> Ints:
        """Drawn anew each round, so that its models are out of sample for most of the core in turn."""
        train, seed = self._material.data.train, self._ground.params.seed
        return random_by_label(train.labels, places, drawn(train.ids, seed + (turn << 32)))

    def _size_after(self, turn: int) -> int:
        return self._plan.size(min(turn + 1, self._plan.params.max_rounds))

    def _count_visits(self) -> None:
        """Every sample's one visit of the round, into the book and the round's file."""
        rows = self._visits.stored_next()
        with naming(self._material.data.train, self._positions(rows["ordinal"].astype(np.int64))):
            self._book.add(visits_of_rows(rows), at=rows["at"])
        when_there_is_room(self._ground.lease, self._visits.end_epoch)

    def _positions(self, ordinals: Ints) -> Ints:
        """Train rows come in the order of their ordinals."""
        return np.searchsorted(self._material.data.train.ordinals, ordinals)

    def _publish(self, placement: Placement, turn: int, held: Mapping[str, Any]) -> SetVersion:
        shown = {
            "round": turn,
            "validation_accuracy": held["validation"]["accuracy"],
            "control_accuracy": held["control"]["accuracy"],
        }

        def publish() -> SetVersion:
            self._book.write_all(turn)
            return self._ground.publish(self._material, placement, shown)

        return self._ground.state.durably(publish)

    def _names(self, positions: Ints) -> list[str]:
        return [self._material.data.train.ids[i] for i in positions[:NAMED].tolist()]


def _compared(grown: Grown, taught: Taught, control: Taught) -> dict[str, Any]:
    """gain: over the best round before. lead: over as many random samples."""
    accuracy = float(taught.validation["accuracy"])
    before = [float(held["validation"]["accuracy"]) for held in grown.rounds]
    return {
        "validation": taught.validation,
        "control": control.validation,
        "gain": accuracy - max(before) if before else None,
        "lead": accuracy - float(control.validation["accuracy"]),
    }
