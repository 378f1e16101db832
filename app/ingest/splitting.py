"""Which split a sample belongs to: places from keyed hashes, cuts at quotas, times.

A place depends on the seed and on the sample's id (or group) alone, and the cuts are kept once they are made.
So the assignment does not depend on the order of the samples, and does not move when samples are added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.contracts import Split
from app.contracts.splits import SplitBy, SplitRule, Stratum

Places = NDArray[np.float64]


def place_of_id(sample_id: str, seed: int) -> float:
    return _place(f"id:{sample_id}", seed)


def place_of_group(sample_id: str, group: str | None, seed: int) -> float:
    """A sample without a group is one of its own."""
    return place_of_id(sample_id, seed) if group is None else _place(f"group:{group}", seed)


def _place(name: str, seed: int) -> float:
    """Uniform in [0, 1): 53 bits, which a float holds exactly, and so does JSON."""
    digest = blake2b(name.encode(), key=b"split %d" % seed, digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def time_of(value: object) -> float | None:
    """A time as a number that sorts: numbers as they are, dates as seconds since 1970, in UTC if they name no
    zone. None for what is neither."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return _date(value) if isinstance(value, str) else None
    return number if math.isfinite(number) else None


def _date(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def stratum(
    label: str | None, places: Places, sizes: NDArray[np.int64], *, test: float, validation: float
) -> Stratum:
    """The cuts that come nearest to the quotas.

    Within the gap between the last place inside and the first outside, a cut lies where the share itself
    would have it, so that those who come later are split by the same shares.

    Args:
        places: (n,) of samples, or of groups, which are never divided.
        sizes: (n,) how many samples each stands for.
    """
    order = np.argsort(places, kind="stable")
    places, cumulated = places[order], np.cumsum(sizes[order])
    total = int(sizes.sum())
    cuts = [
        _cut(places, _inside(cumulated, total * share), wanted=share) for share in (test, test + validation)
    ]
    return Stratum(label=label, samples=total, test_below=cuts[0], validation_below=cuts[1])


def times_from(
    times: Places, sizes: NDArray[np.int64], *, test: float, validation: float
) -> tuple[float | None, float | None]:
    """From when on samples are in test, and from when on in validation; equal times are never divided.

    Args:
        times: (n,) of samples, or the newest of each group.
        sizes: (n,) how many samples each stands for.
    """
    distinct, where = np.unique(times, return_inverse=True)
    newest_first = distinct[::-1]
    counts = np.bincount(where, weights=sizes, minlength=len(distinct))[::-1]
    cumulated, total = np.cumsum(counts), int(sizes.sum())
    inside = [_inside(cumulated, total * share) for share in (test, test + validation)]
    test_from, validation_from = (float(newest_first[k - 1]) if k else None for k in inside)
    return test_from, validation_from


def _inside(cumulated: NDArray[np.number], quota: float) -> int:
    """How many of them come nearest to the quota; the fewer of two that are as near."""
    return int(np.argmin(np.abs(np.concatenate([[0], cumulated]) - quota)))


def _cut(places: Places, inside: int, *, wanted: float) -> float:
    least = float(np.nextafter(places[inside - 1], np.inf)) if inside else 0.0
    most = float(places[inside]) if inside < len(places) else 1.0
    return min(max(wanted, least), most)


@dataclass(frozen=True)
class Placing:
    """Puts samples into splits by a rule.

    followed: splits of groups that samples go to whatever their own place is.
    """

    rule: SplitRule
    followed: Mapping[str, str] = field(default_factory=dict)
    _cuts: dict[str | None, tuple[float, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cuts = {one.label: (one.test_below, one.validation_below) for one in self.rule.strata}
        object.__setattr__(self, "_cuts", cuts)

    def split_of(self, sample_id: str, label: str | None, group: str | None, time: object) -> str:
        """`time`: the value of the rule's field, if it has one."""
        if group is not None and group in self.followed:
            return self.followed[group]
        if self.rule.by is SplitBy.TIME:
            return split_at(self.rule, time_of(time))
        if self.rule.by is SplitBy.GROUP:
            place, cuts = place_of_group(sample_id, group, self.rule.seed), self._cuts.get(None)
        else:
            place, cuts = place_of_id(sample_id, self.rule.seed), self._cuts.get(label)
        # A label that came later is cut by the shares themselves.
        test, validation = cuts or (self.rule.test, self.rule.test + self.rule.validation)
        if place < test:
            return Split.TEST.value
        return Split.VALIDATION.value if place < validation else Split.TRAIN.value


def split_at(rule: SplitRule, time: float | None) -> str:
    """By time; without one a sample is trained on."""
    if time is not None and rule.test_from is not None and time >= rule.test_from:
        return Split.TEST.value
    if time is not None and rule.validation_from is not None and time >= rule.validation_from:
        return Split.VALIDATION.value
    return Split.TRAIN.value


def split_of_group(splits: Sequence[str]) -> str:
    """Of a group whose samples are in several, by what clients sent: the one that must not be trained on."""
    return next(split for split in ("test", "validation", "train") if split in splits)
