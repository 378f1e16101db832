"""What can go wrong while observing gradients, each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping

from models.errors import ModelError


class GradientError(ModelError):
    """Base of this package's errors.

    | code | raised when |
    |---|---|
    | `uncovered_parameter` | a trainable parameter has no rule, or is used where its rule cannot see it |
    | `observation_state` | the observer is used out of order, for instance `take` without a backward |
    """


class UncoveredParameterError(GradientError):
    """Trainable parameters whose per-sample gradient no rule can see, all of them, raised once.

    `reasons` maps each parameter's name to why.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        lines = "".join(f"\n  {name}: {reason}" for name, reason in sorted(self.reasons.items()))
        super().__init__(
            "uncovered_parameter",
            f"{len(self.reasons)} trainable parameter(s) cannot be observed:{lines}\n",
            'Freeze them (requires_grad_(False)), pass fallback="exact" to take the slow exact path, '
            "or register a rule for their module type.",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return UncoveredParameterError, (self.reasons,)


class ObservationStateError(GradientError):
    """The observer was used out of order."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "observation_state",
            problem,
            "Per micro-batch: forward, backward, take(weights); discard() drops what was observed.",
        )
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:
        return ObservationStateError, (self.problem,)
