"""Sorting scored samples into core, edge and noise: one module a policy."""

from __future__ import annotations

from collections.abc import Mapping

from models.selection.assignment import REASON_CODES, SET_CODES, Assignment
from models.selection.seed import SeedPolicy

policies: Mapping[str, type[SeedPolicy]] = {"seed": SeedPolicy}

__all__ = ["REASON_CODES", "SET_CODES", "Assignment", "SeedPolicy", "policies"]
