"""What each epoch of a run came to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from models.signals import VisitSignals
from models.training import StepResult


class EpochHistory:
    """Train loss, train accuracy, mean gradient norm and validation metrics by run and epoch, each counted
    from 1; survives a resume."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        held = state or {"epochs": [], "sums": [0.0, 0.0, 0.0], "samples": 0}
        self.epochs: list[dict[str, Any]] = list(held["epochs"])
        self._sums = np.array(held["sums"], dtype=np.float64)
        self._samples = int(held["samples"])

    def state(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "sums": self._sums.tolist(), "samples": self._samples}

    def add(self, result: StepResult[VisitSignals], *, run: int) -> None:
        """run: from 0."""
        signals = result.signals
        parts = (signals.loss, signals.correct, signals.grad_norm)
        self._sums += [float(part.sum(dtype=np.float64)) for part in parts]
        self._samples += len(signals)
        if not result.epoch_ended:
            return
        loss, accuracy, grad_norm = (self._sums / self._samples).tolist()
        validation = None if result.epoch_metrics is None else asdict(result.epoch_metrics)
        self.epochs.append(
            {
                "run": run + 1,
                "epoch": result.epoch + 1,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "mean_grad_norm": grad_norm,
                "validation": validation,
            }
        )
        self._sums[:] = 0.0
        self._samples = 0
