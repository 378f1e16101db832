"""What is known of the samples that are to be sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Checks:
    """m samples that are not to be sorted: embedding (m, dim), rows of length 1, and labels (m,)."""

    embedding: NDArray[np.float32]
    labels: Ints


@dataclass(frozen=True)
class Evidence:
    """n scored samples. All arrays have n rows in one order; no policy's answer depends on that order.

    ids: n distinct strings. labels: (n,) class indices, 0 … classes − 1. importance: (n,) S_i, finite.
    groups: (n,) codes, such as one a query, or None. texts: (n,) codes, equal for samples of the same text,
    or None: then all texts differ. embedding: (n, dim) float32 of the text alone, rows of length 1, or None.
    noise_probability: (n,) that the label is wrong, NaN where there is no estimate. suspicion: (n,) what that
    rises with, also where it is flat. ambiguity: (n,) how undecided others are about the class, whatever the
    label: 0 sure … 1 torn between two. verdicts: (n,) int8, a person found the label
    right (1) or wrong (−1), or has said nothing (0). checks: samples that the choice of a core may be checked
    on, or None.

    Raises ModelError `non_finite_score` with the positions at fault.
    """

    ids: Sequence[str]
    labels: Ints
    classes: int
    importance: Floats
    groups: Ints | None = None
    texts: Ints | None = None
    embedding: NDArray[np.float32] | None = None
    noise_probability: Floats = field(default_factory=lambda: np.zeros(0))
    suspicion: Floats = field(default_factory=lambda: np.zeros(0))
    ambiguity: Floats = field(default_factory=lambda: np.zeros(0))
    verdicts: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    checks: Checks | None = None

    def __post_init__(self) -> None:
        count = len(self.ids)
        object.__setattr__(self, "importance", np.asarray(self.importance, dtype=np.float64))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        if not len(self.noise_probability):
            object.__setattr__(self, "noise_probability", np.full(count, np.nan))
        if not len(self.suspicion):
            object.__setattr__(self, "suspicion", np.zeros(count))
        if not len(self.ambiguity):
            object.__setattr__(self, "ambiguity", np.zeros(count))
        if not len(self.verdicts):
            object.__setattr__(self, "verdicts", np.zeros(count, dtype=np.int8))
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray) and len(value) != count:
                raise ValueError(f"{len(value)} values of {one.name} but {count} ids")
        broken = np.flatnonzero(~np.isfinite(self.importance))
        if len(broken):
            raise ModelError(
                "non_finite_score",
                f"{len(broken)} of {count} importances are infinite or not a number.",
                "Score these samples again.",
                positions=broken.tolist(),
            )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Ints) -> Evidence:
        """The samples at these positions, in that order."""
        chosen = {
            one.name: getattr(self, one.name)[positions]
            for one in fields(self)
            if isinstance(getattr(self, one.name), np.ndarray)
        }
        return replace(self, ids=[self.ids[i] for i in positions.tolist()], **chosen)

    def by_id(self) -> Ints:
        """Positions (n,) in the order of the ids, ascending by code point: the order that computations go
        in."""
        return order_of(self.ids)

    def importance_order(self) -> Ints:
        return importance_order(self.ids, self.importance)


def order_of(ids: Sequence[str]) -> Ints:
    """Positions (n,) of the ids in ascending order, by code point."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def importance_order(ids: Sequence[str], importance: Floats) -> Ints:
    """Positions (n,) by importance descending, ties by id ascending."""
    by_id = order_of(ids)
    return by_id[np.argsort(-importance[by_id], kind="stable")]


def drawn(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """(n,) numbers that look random and follow from the seed and the id alone, not from the order of ids."""
    key = seed.to_bytes(8, "little", signed=False)
    digests = b"".join(blake2b(one.encode(), digest_size=8, key=key).digest() for one in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
