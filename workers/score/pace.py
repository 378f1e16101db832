"""Progress of a training run: how far, how fast, how long still."""

from __future__ import annotations

import time
from collections import deque

from app.contracts import Progress

WINDOW_STEPS = 50


class Pace:
    """Measured over the last steps of this attempt, so that a resumed job does not count what it skipped."""

    def __init__(self, step: int, total_steps: int, phase: str = "training") -> None:
        self.phase = phase
        self._step = step
        self._total = total_steps
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=WINDOW_STEPS + 1)

    @property
    def done(self) -> int:
        return self._step

    @property
    def total(self) -> int:
        return self._total

    def go_to(self, step: int) -> None:
        """Where an earlier attempt was."""
        self._step = step

    def add(self, step: int, samples: int) -> None:
        self._step = step
        self._recent.append((time.monotonic(), samples))

    def progress(self) -> Progress:
        seconds = self._recent[-1][0] - self._recent[0][0]
        steps = len(self._recent) - 1
        samples = sum(count for _, count in list(self._recent)[1:])
        known = steps > 0 and seconds > 0
        return Progress(
            phase=self.phase,
            step=self._step,
            total_steps=self._total,
            fraction=round(0.98 * self._step / self._total, 4) if self._total else 0.0,
            eta_seconds=round((self._total - self._step) * seconds / steps, 1) if known else None,
            samples_per_second=round(samples / seconds, 1) if known else None,
            step_seconds=round(seconds / steps, 6) if known else None,
        )
