"""Which train samples a job leaves out, because of what a clean job found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts import Claim, Dataset
from app.contracts.flags import SampleFlag, bits_of, flags_of
from app.errors import JobFailed
from app.store.flags import Flags
from app.store.state import State

FIXED = "exclusion"


@dataclass(frozen=True)
class Exclusion:
    """bits: the flags that exclude. flags: of the clean job that held as the job began; None: nothing is left
    out. A sample that has changed since it was checked has none."""

    bits: int = 0
    flags: Flags | None = None

    def __bool__(self) -> bool:
        return self.flags is not None

    def leaves_out(self, ordinals: NDArray[np.int64], generations: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """(n,) of train samples."""
        if self.flags is None:
            return np.zeros(len(ordinals), dtype=np.bool_)
        held, _ = self.flags.of(ordinals, generations)
        excluded: NDArray[np.bool_] = (held & np.uint32(self.bits)) != 0
        return excluded

    def told(self, ordinals: NDArray[np.int64], generations: NDArray[np.uint32]) -> dict[str, Any] | None:
        """For the job's result: what is left out of these train samples; null where nothing was to be."""
        if self.flags is None:
            return None
        held, checked = self.flags.of(ordinals, generations)
        return {
            "clean_job": self.flags.job,
            "samples": int(((held & np.uint32(self.bits)) != 0).sum()),
            "flags": {
                flag.value: int(((held & np.uint32(bits_of([flag]))) != 0).sum())
                for flag in flags_of(self.bits)
            },
            "unchecked": int((~checked).sum()),
        }


NOTHING = Exclusion()


def exclusion_of(state: State, dataset: Dataset, claim: Claim) -> Exclusion:
    """What the dataset's settings and its flags were as the job began: the same for every attempt.

    Raises:
        JobFailed: `not_cleaned`; flags are to exclude samples, and no clean job has succeeded.
        Damaged: the flags cannot be read.
    """
    held = state.datasets.by_uid(dataset.uid) or dataset
    now = {
        "flags": [flag.value for flag in held.settings.exclude_flags],
        "clean_job": state.flags.job_in_force(held) if held.settings.exclude_flags else None,
    }
    fixed = state.durably(lambda: state.jobs.remember(claim, FIXED, now))
    if not fixed["flags"]:
        return NOTHING
    if fixed["clean_job"] is None:
        raise JobFailed(
            "not_cleaned",
            f"exclude_flags of dataset {dataset.name!r} is set, and no clean job of it has succeeded",
        )
    bits = bits_of(SampleFlag(name) for name in fixed["flags"])
    return Exclusion(bits, state.flags.of_job(dataset.uid, fixed["clean_job"]))
