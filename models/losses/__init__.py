"""Losses for graded relevance: what a classifier of grades may learn instead of the right class alone."""

from __future__ import annotations

from models.losses.graded import GradedLoss
from models.losses.names import BY_QUERY, CROSS_ENTROPY, LOSSES

__all__ = ["BY_QUERY", "CROSS_ENTROPY", "LOSSES", "GradedLoss"]
