"""Sorting scored samples into core, edge and noise: one module a policy."""

from __future__ import annotations

from models.selection.assignment import REASON_CODES, SET_CODES, Assignment, Policy
from models.selection.ccs import CcsPolicy
from models.selection.evidence import Checks, Evidence, drawn, importance_order, order_of
from models.selection.growing import Grower, Growth, random_by_label, round_sizes, sorted_by_growth
from models.selection.robust import RobustPolicy
from models.selection.seed import SeedPolicy
from models.selection.top_k import TopKPolicy
from models.selection.uniform import RandomPolicy

__all__ = [
    "REASON_CODES",
    "SET_CODES",
    "Assignment",
    "CcsPolicy",
    "Checks",
    "Evidence",
    "Grower",
    "Growth",
    "Policy",
    "RandomPolicy",
    "RobustPolicy",
    "SeedPolicy",
    "TopKPolicy",
    "drawn",
    "importance_order",
    "order_of",
    "random_by_label",
    "round_sizes",
    "sorted_by_growth",
]
