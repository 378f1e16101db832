"""Exact per-sample gradient norms, and inner products, inside the ordinary training step."""

from models.gradients.alignment import Direction, adam_preconditioner, mean_gradient, preconditioned
from models.gradients.coverage import ParameterCoverage
from models.gradients.errors import GradientError, ObservationStateError, UncoveredParameterError
from models.gradients.observer import GradientObserver
from models.gradients.projection import SeededProjection
from models.gradients.response import MeanProjections
from models.gradients.result import PerSampleGradients

__all__ = [
    "Direction",
    "GradientError",
    "GradientObserver",
    "MeanProjections",
    "ObservationStateError",
    "ParameterCoverage",
    "PerSampleGradients",
    "SeededProjection",
    "UncoveredParameterError",
    "adam_preconditioner",
    "mean_gradient",
    "preconditioned",
]
