"""Set versions with all of their members: to make one ready takes a while, to ask it does not."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from app.contracts import Dataset
from app.errors import Damaged, NotFound
from app.services.review_ranking import Order, review_orders
from app.store.sets import Placement
from app.store.state import State
from app.store.verdicts import NO_VERDICT, Verdicts

VERSIONS_HELD = 4


@dataclass(frozen=True)
class RankedVersion:
    """A set version's members, by importance descending, and the orders of its queue. classes: (n,) equal
    numbers are equal labels. by_ordinal: positions in the order of the ordinals."""

    members: Placement
    classes: NDArray[np.int32]
    orders: list[Order]
    by_ordinal: Order

    def position(self, ordinal: int, generation: int) -> int | None:
        """Of a member; None where it is none, or was another content then."""
        at = int(np.searchsorted(self.members.ordinals, ordinal, sorter=self.by_ordinal))
        if at == len(self.by_ordinal):
            return None
        found = int(self.by_ordinal[at])
        meant = (self.members.ordinals[found], self.members.generations[found]) == (ordinal, generation)
        return found if meant else None

    def reviewed(self, verdicts: Verdicts) -> NDArray[np.bool_]:
        """Whether there is a verdict in force on the content of each member (n,)."""
        ordinals, generations = self.members.ordinals, self.members.generations
        reviewed = np.zeros(len(ordinals), dtype=bool)
        if len(ordinals):
            at = np.searchsorted(ordinals, verdicts.ordinals, sorter=self.by_ordinal)
            meant = self.by_ordinal[np.minimum(at, len(ordinals) - 1)]  # of few members, where there are many
            reviewed[meant] = verdicts.of(ordinals[meant], generations[meant]) != NO_VERDICT
        return reviewed


class RankedVersions:
    """Keeps the last few.

    A version never changes. Members that were void when it was ranked stay so and are left out; those that
    have become void since are found when their rows are read.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], RankedVersion] = OrderedDict()
        self._lock = Lock()

    def of(self, state: State, dataset: Dataset, version: int) -> RankedVersion:
        """Raises NotFound: the version was dropped; Damaged: its file is gone or cannot be read."""
        archive = state.archive.of_dataset(dataset)
        name = archive.versions().get(version)
        if name is None:
            if version in state.sets.numbers(dataset):
                detail = f"set version {version} of {dataset.name!r} has no file in the archive"
                raise Damaged("damaged_file", detail, remedy="Run a score job: it makes a new version.")
            raise NotFound("unknown_version", f"set version {version} was dropped meanwhile")
        key = (archive.folder.location, name)
        with self._lock:  # one ranks, the others wait for it
            ranked = self._held.pop(key, None)
            if ranked is None:
                ranked = _rank(state, dataset, archive.version(name).placement)
            self._held[key] = ranked
            while len(self._held) > VERSIONS_HELD:
                self._held.popitem(last=False)
        return ranked


def _rank(state: State, dataset: Dataset, placement: Placement) -> RankedVersion:
    members, classes = _valid_members(state, dataset, placement)
    orders = review_orders(members.noise, classes)
    return RankedVersion(members, classes, orders, np.argsort(members.ordinals))


def _valid_members(
    state: State, dataset: Dataset, placement: Placement
) -> tuple[Placement, NDArray[np.int32]]:
    """The members whose content is still that of the version, and the class of each."""
    ordinals, generations, classes = state.samples.classes(dataset)
    size = max(ordinals.max(initial=-1), placement.ordinals.max(initial=-1)) + 1
    generation_at, class_at = np.full(size, -1, dtype=np.int64), np.full(size, -1, dtype=np.int32)
    generation_at[ordinals], class_at[ordinals] = generations, classes
    valid = generation_at[placement.ordinals] == placement.generations
    members = Placement(**{name: array[valid] for name, array in vars(placement).items()})
    return members, class_at[members.ordinals]
