"""Fine-tuning that records every sample's signals on the way, and can stop and resume anywhere."""

from __future__ import annotations

from models.training.config import TrainingConfig
from models.training.precision import pick_device
from models.training.run import ScoringRun, StepResult

__all__ = ["ScoringRun", "StepResult", "TrainingConfig", "pick_device"]
