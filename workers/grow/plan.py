"""How many rounds there may be, what each costs, and when there is no more to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.contracts.params import GrowParams
from app.errors import JobFailed
from models.selection import round_sizes
from workers.score.configuration import training_config


@dataclass(frozen=True)
class Plan:
    """Of a job on n samples. Rounds count from 1; every round takes as many steps as the last one would by
    `num_train_epochs`, rounded up to whole epochs of its core, so that a gain is one of the data."""

    params: GrowParams
    count: int

    def size(self, turn: int) -> int:
        """The core's size in this round, at most."""
        params = self.params
        return round_sizes(params.initial_fraction, params.core_fraction, params.max_rounds, self.count)[
            turn - 1
        ]

    def epochs(self, core: int) -> int:
        """Passes over a core of this size."""
        steps = training_config(self.params).steps_per_epoch
        full = self.params.num_train_epochs * steps(self.size(self.params.max_rounds))
        return max(self.params.num_train_epochs, -(-full // max(1, steps(core))))

    def steps(self, core: int) -> int:
        """Training steps of the core and of its control, and batches of all others."""
        others = -(-(self.count - core) // self.params.per_device_train_batch_size)
        return 2 * self.epochs(core) * training_config(self.params).steps_per_epoch(core) + others

    def visits(self, core: int) -> int:
        """Samples trained on and measured, the control's included."""
        return 2 * self.epochs(core) * core + self.count - core

    def total_steps(self) -> int:
        return sum(self.steps(self.size(turn)) for turn in range(1, self.params.max_rounds + 1))

    def require_a_round(self, core: int) -> None:
        """Raises JobFailed `budget_too_small`."""
        first = self.visits(core)
        if self.params.max_visits is not None and first > self.params.max_visits:
            raise JobFailed(
                "budget_too_small",
                f"the first round alone would take {first} visits, max_visits is {self.params.max_visits}",
                remedy="Raise max_visits, or lower num_train_epochs, core_fraction or initial_fraction.",
            )

    def reason_to_stop(
        self, rounds: Sequence[Mapping[str, Any]], core: int, *, visits: int, seconds: float
    ) -> str | None:
        """Why there is no further round, None where there is one. core: its size in the next round."""
        params, last = self.params, rounds[-1]
        if len(rounds) >= params.max_rounds:
            return "rounds"
        if core <= last["core"]:
            return "exhausted"
        if len(rounds) - best_round(rounds, params.min_gain) >= params.round_patience:
            return "no_gain"
        if params.max_minutes is not None and seconds >= 60 * params.max_minutes:
            return "minutes"
        if params.max_visits is not None and visits + self.visits(core) > params.max_visits:
            return "visits"
        return None


def best_round(rounds: Sequence[Mapping[str, Any]], min_gain: float) -> int:
    """The last round whose core was better on validation, by more than `min_gain`, than all before it."""
    best, best_accuracy = 0, -1.0
    for held in rounds:
        accuracy = float(held["validation"]["accuracy"])
        if best == 0 or accuracy > best_accuracy + min_gain:
            best, best_accuracy = int(held["round"]), accuracy
    return best
