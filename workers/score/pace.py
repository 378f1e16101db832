"""Progress of a training run: how far, how fast, how long still, and what is learned."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from app.contracts import Progress, ProgressMetric

WINDOW_STEPS = 50
METRIC = "accuracy"


class Pace:
    """Measured over the last steps of this attempt, so that a resumed job does not count what it skipped."""

    def __init__(self, step: int, total_steps: int, phase: str = "training") -> None:
        self._phase = phase
        self._step = step
        self._total = total_steps
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=WINDOW_STEPS + 1)
        self._losses: deque[tuple[float, int]] = deque(maxlen=WINDOW_STEPS)
        self._metric: ProgressMetric | None = None

    @property
    def phase(self) -> str:
        return self._phase

    @phase.setter
    def phase(self, phase: str) -> None:
        """Losses of another phase are those of another training."""
        self._phase = phase
        self._losses.clear()

    @property
    def done(self) -> int:
        return self._step

    @property
    def total(self) -> int:
        return self._total

    def go_to(self, step: int) -> None:
        """Where an earlier attempt was."""
        self._step = step

    def add(self, step: int, samples: int, loss: float = math.nan) -> None:
        """Args: loss: mean over the step's samples, where it trained on them."""
        self._step = step
        self._recent.append((time.monotonic(), samples))
        if math.isfinite(loss):
            self._losses.append((loss, samples))

    def judge(self, validation: Mapping[str, Any] | None) -> None:
        """What the validation split said last; None, or nothing in it, leaves what is known."""
        if validation:
            self._metric = ProgressMetric(name=METRIC, value=float(validation[METRIC]))

    def _loss(self) -> float | None:
        samples = sum(count for _, count in self._losses)
        return sum(loss * count for loss, count in self._losses) / samples if samples else None

    def progress(self) -> Progress:
        seconds = self._recent[-1][0] - self._recent[0][0]
        steps = len(self._recent) - 1
        samples = sum(count for _, count in list(self._recent)[1:])
        known = steps > 0 and seconds > 0
        return Progress(
            phase=self._phase,
            step=self._step,
            total_steps=self._total,
            fraction=round(0.98 * self._step / self._total, 4) if self._total else 0.0,
            eta_seconds=round((self._total - self._step) * seconds / steps, 1) if known else None,
            samples_per_second=round(samples / seconds, 1) if known else None,
            step_seconds=round(seconds / steps, 6) if known else None,
            loss=self._loss(),
            metric=self._metric,
        )
