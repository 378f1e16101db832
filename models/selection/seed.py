"""`policy=seed`: order by importance, highest share core, lowest share noise, the rest edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.selection.assignment import REASON_CODES, SET_CODES, Assignment


@dataclass(frozen=True)
class SeedPolicy:
    """The founding algorithm, to the letter.

    Of n samples ordered by S_i, highest first, the first round(core_fraction · n) are core, the last
    round(noise_fraction · n) are noise, the rest are edge. Halves round up, on the decimal value of
    the fraction as written (0.29 of 50 is 14.5, hence 15). Where rounding makes both meet, core wins.
    """

    core_fraction: float
    noise_fraction: float

    def __post_init__(self) -> None:
        core, noise = (_exact(share) for share in (self.core_fraction, self.noise_fraction))
        if core < 0 or noise < 0 or core + noise > 1:
            raise ModelError(
                "invalid_fractions",
                f"core_fraction {self.core_fraction} and noise_fraction {self.noise_fraction} "
                "must not be negative nor add up to more than 1.",
                "Lower one of them, for instance to 0.3 and 0.2.",
            )

    def assign(self, importance: NDArray[np.float64], ids: Sequence[str]) -> Assignment:
        """Sort n samples into sets. importance S_i: (n,), finite; ids: n distinct strings.

        Ties are broken by id, ascending by code point, so the answer does not depend on the order
        of the input. Raises ModelError `non_finite_score` with the positions at fault.
        """
        importance = np.asarray(importance, dtype=np.float64)
        count = len(importance)
        if count != len(ids):
            raise ValueError(f"{count} scores but {len(ids)} ids")
        _require_finite(importance)
        order = importance_order(importance, ids)
        core_count = _share(self.core_fraction, count)
        noise_count = min(_share(self.noise_fraction, count), count - core_count)
        sets = np.full(count, SET_CODES["edge"], dtype=np.uint8)
        reasons = np.full(count, REASON_CODES["uncertain"], dtype=np.uint8)
        core, noise = order[:core_count], order[count - noise_count :]
        sets[core], reasons[core] = SET_CODES["core"], REASON_CODES["important"]
        sets[noise], reasons[noise] = SET_CODES["noise"], REASON_CODES["easy"]
        return Assignment(order, sets, reasons)


def importance_order(importance: NDArray[np.float64], ids: Sequence[str]) -> NDArray[np.int64]:
    """Positions (n,) by importance descending, ties by id ascending."""
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    return by_id[np.argsort(-importance[by_id], kind="stable")]


def _require_finite(importance: NDArray[np.float64]) -> None:
    broken = np.flatnonzero(~np.isfinite(importance))
    if len(broken):
        raise ModelError(
            "non_finite_score",
            f"{len(broken)} of {len(importance)} importances are infinite or not a number.",
            "Score these samples again.",
            positions=broken.tolist(),
        )


def _share(fraction: float, count: int) -> int:
    """round(fraction · count), halves up, without the error of binary fractions."""
    return int(_exact(fraction) * count + Fraction(1, 2))


def _exact(fraction: float) -> Fraction:
    """The decimal number as the user wrote it: 0.1 is a tenth."""
    try:
        return Fraction(repr(float(fraction)))
    except ValueError as error:
        raise ModelError(
            "invalid_fractions", f"{fraction} is not a fraction.", "Choose a number from 0 to 1."
        ) from error
