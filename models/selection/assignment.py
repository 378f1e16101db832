"""What every policy answers: an order, a set and a reason for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

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
    by position in the input (not by rank), codes of SET_CODES and REASON_CODES.
    """

    order: NDArray[np.int64]
    sets: NDArray[np.uint8]
    reasons: NDArray[np.uint8]

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
