"""When an epoch was the last."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stop after `patience` epochs in a row without a lower validation loss; None never stops."""

    patience: int | None
    best_loss: float = math.inf
    epochs_without_gain: int = 0

    def should_stop(self, validation_loss: float) -> bool:
        """Note the validation loss of one more epoch and say whether it was the last."""
        if validation_loss < self.best_loss:
            self.best_loss = validation_loss
            self.epochs_without_gain = 0
        else:
            self.epochs_without_gain += 1
        return self.patience is not None and self.epochs_without_gain >= self.patience

    def state_dict(self) -> dict[str, float | int]:
        return {"best_loss": self.best_loss, "epochs_without_gain": self.epochs_without_gain}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        self.best_loss = float(state["best_loss"])
        self.epochs_without_gain = int(state["epochs_without_gain"])
