"""One round of a grow job after the other."""

from __future__ import annotations

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
from workers.grow.grown import Grown
from workers.grow.plan import Plan
from workers.score.book import ScoreBook
from workers.score.epoch_visits import EpochVisits
from workers.score.groundwork import Groundwork, Material
from workers.score.hearing import Hearing
from workers.score.judging import Judgement, know
from workers.score.pace import Pace
from workers.score.recording import naming
from workers.score.room import when_there_is_room
from workers.score.sets import place
from workers.score.teaching import Taught, Teaching
from workers.score.views import keep_explanation

NAMED = 100
"""Samples that left the core are named in the result, so many of them a round."""
Ints = NDArray[np.int64]
log = get_logger(__name__)


@dataclass
class Judged:
    """The labels judged anew. looked: the round's own core, less what was quarantined. promoted: the next
    round's core, and the caution that chose it."""

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
        turn, core = grown.turn + 1, np.flatnonzero(grown.growth.core)
        pace = Pace(grown.steps, self._plan.total_steps())
        teaching = Teaching(self._ground, self._material, self._visits, pace, turn=turn)
        epochs = self._plan.epochs(len(core))
        pace.phase = f"round {turn}: core"
        pace.judge(grown.rounds[-1]["validation"] if grown.rounds else None)
        taught = teaching.teach("core", core, epochs, recording=True)
        pace.judge(taught.validation)
        pace.phase = f"round {turn}: random control"
        control = teaching.teach("control", self._control(len(core), turn), epochs, recording=False)
        pace.phase = f"round {turn}: sets"
        self._ground.lease.check(pace.progress())
        hearing = grown.hearing.with_more((taught.others, taught.logits), (control.others, control.logits))
        self._count_visits()
        judged, placement, told = self._judge(grown.growth, hearing, turn)
        entry = {
            "round": turn,
            "core": int(judged.looked.core.sum()),
            "promoted": int(judged.promoted.core.sum() - judged.looked.core.sum()),
            "quarantined": int((judged.looked.noise > 0).sum() - (grown.growth.noise > 0).sum()),
            "left_core": self._names(np.flatnonzero(grown.growth.core & ~judged.looked.core)),
            "trained_on": len(core),
            "epochs": epochs,
            "caution": grown.caution,
            **_compared(grown, taught, control),
            "noise": dict(told),
            "visits": self._plan.visits(len(core)),
        }
        version, seconds = self._publish(placement, entry), teaching.seconds
        if taught.sight is not None:
            keep_explanation(self._ground, self._material, taught.sight)
        entry |= {"set_version": version.version, "sets": version.sizes, "seconds": round(seconds, 2)}
        log.info("round ended", **{name: entry[name] for name in ("round", "core", "gain", "lead")})
        return Grown(
            growth=judged.promoted,
            hearing=hearing,
            rounds=[*grown.rounds, entry],
            coverage=taught.coverage,
            caution=judged.caution,
            steps=pace.done,
            seconds=grown.seconds + seconds,
            files=self._visits.state(),
            records=self._book.records,
        )

    def _judge(
        self, growth: Growth, hearing: Hearing, turn: int
    ) -> tuple[Judged, Placement, Mapping[str, Any]]:
        """Of the samples that are still as they were when the job began; the others leave the core."""
        params, seen = self._ground.params, self._material.seen
        judged = Judged(growth, growth)
        places = self._plan.size(min(turn + 1, self._plan.params.max_rounds))

        def sort(evidence: Evidence, where: Ints, reviewed: Reviewed | None) -> Judgement:
            known = know(evidence, params, seen.validation, reviewed, hearing.means()[where])
            looked = self._grower.look(known.evidence, growth.take(where))
            promoted, caution = self._grower.promote(known.evidence, looked, places)
            without = replace(growth, core=np.zeros_like(growth.core))
            judged.looked, judged.promoted = without.put(where, looked), without.put(where, promoted)
            judged.caution = caution.share
            return known.judgement(sorted_by_growth(known.evidence, looked))

        state, dataset, exclusion = self._ground.state, self._material.dataset, self._material.data.exclusion
        return judged, *place(state, dataset, self._book.records, seen, sort, exclusion)

    def _control(self, places: int, turn: int) -> Ints:
        """Drawn anew each round, so that its models are out of sample for most of the core in turn."""
        train, seed = self._material.data.train, self._ground.params.seed
        return random_by_label(train.labels, places, drawn(train.ids, seed + (turn << 32)))

    def _count_visits(self) -> None:
        """Every sample's one visit of the round, into the book and the round's file."""
        rows = self._visits.kept()
        with naming(self._material.data.train, self._positions(rows["ordinal"].astype(np.int64))):
            self._book.add(visits_of_rows(rows), at=rows["at"])
        when_there_is_room(self._ground.lease, self._visits.end_epoch)

    def _positions(self, ordinals: Ints) -> Ints:
        """Train rows come in the order of their ordinals."""
        return np.searchsorted(self._material.data.train.ordinals, ordinals)

    def _publish(self, placement: Placement, entry: Mapping[str, Any]) -> SetVersion:
        shown = {
            "round": entry["round"],
            "validation_accuracy": entry["validation"]["accuracy"],
            "control_accuracy": entry["control"]["accuracy"],
        }

        def publish() -> SetVersion:
            self._book.write_all(entry["round"])
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
