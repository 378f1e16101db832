"""Fine-tuning that records every sample's signals on the way, and can stop and resume anywhere."""

from __future__ import annotations

from models.training.config import TrainingConfig
from models.training.fitting import FittingRun
from models.training.loop import StepResult
from models.training.precision import pick_device
from models.training.pretraining import PretrainingRun
from models.training.run import ScoringRun

__all__ = ["FittingRun", "PretrainingRun", "ScoringRun", "StepResult", "TrainingConfig", "pick_device"]
