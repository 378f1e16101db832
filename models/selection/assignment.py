"""What every policy answers: an order, a set and a reason for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.selection.evidence import Evidence

# Stored with every set version, so a code never changes its meaning; new ones go at the end.
SET_CODES: Mapping[str, int] = MappingProxyType({"unscored": 0, "core": 1, "edge": 2, "noise": 3})
REASON_CODES: Mapping[str, int] = MappingProxyType(
    {
        "unscored": 0,
        "important": 1,
        "coverage": 2,
        "protected": 3,
        "uncertain": 4,
        "easy": 5,
        "mislabelled": 6,
        "ambiguous": 7,
        "outlier": 8,
        "duplicate": 9,
        "redundant": 10,
    }
)
_REASON_NAMES = {code: name for name, code in REASON_CODES.items()}
_SET_NAMES = {code: name for name, code in SET_CODES.items()}


@dataclass(frozen=True)
class Assignment:
    """Where n samples belong.

    order: (n,) int64, positions from the most to the least important. sets, reasons: (n,) uint8,
    by position in the input (not by rank), codes of SET_CODES and REASON_CODES. told: what the policy chose
    by itself, for the job's result.
    """

    order: NDArray[np.int64]
    sets: NDArray[np.uint8]
    reasons: NDArray[np.uint8]
    told: Mapping[str, Any] = field(default_factory=dict)

    def set_names(self) -> list[str]:
        """The set of each position, by name."""
        return [_SET_NAMES[int(code)] for code in self.sets]

    def reason_names(self) -> list[str]:
        """The reason of each position, by name."""
        return [_REASON_NAMES[int(code)] for code in self.reasons]

    def set_sizes(self) -> dict[str, int]:
        """How many samples each set has, empty sets included."""
        counts = np.bincount(self.sets, minlength=len(SET_CODES))
        return {name: int(counts[code]) for name, code in SET_CODES.items()}


class Policy(Protocol):
    """Sorts samples into sets. The same evidence gives the same sets, in whatever order it comes."""

    def assign(self, evidence: Evidence) -> Assignment: ...


@dataclass(frozen=True)
class Draft:
    """An assignment in the making."""

    sets: NDArray[np.uint8]
    reasons: NDArray[np.uint8]

    @classmethod
    def all_edge(cls, evidence: Evidence, reason: str) -> Draft:
        count = len(evidence)
        return cls(
            np.full(count, SET_CODES["edge"], dtype=np.uint8),
            np.full(count, REASON_CODES[reason], dtype=np.uint8),
        )

    def put(self, positions: NDArray[np.int64] | NDArray[np.bool_], set_name: str, reason: str) -> None:
        self.sets[positions] = SET_CODES[set_name]
        self.reasons[positions] = REASON_CODES[reason]

    def finished(self, order: NDArray[np.int64], told: Mapping[str, Any] | None = None) -> Assignment:
        return Assignment(order, self.sets, self.reasons, told or {})
