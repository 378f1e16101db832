"""Exact per-sample gradient norms, and inner products, inside the ordinary training step."""

from models.gradients.coverage import ParameterCoverage
from models.gradients.errors import GradientError, ObservationStateError, UncoveredParameterError
from models.gradients.observer import GradientObserver
from models.gradients.result import PerSampleGradients

__all__ = [
    "GradientError",
    "GradientObserver",
    "ObservationStateError",
    "ParameterCoverage",
    "PerSampleGradients",
    "UncoveredParameterError",
]
