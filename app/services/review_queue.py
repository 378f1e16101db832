"""The rows whose verdict would teach most, of the present set version."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts import REASONS, SET_BY_CODE, Dataset, Label
from app.errors import Damaged, NotFound
from app.services.review_ranking import Order, alternating, review_orders
from app.store.samples import StoredLabel
from app.store.sets import Placement
from app.store.state import State
from app.store.verdicts import NO_VERDICT, Verdicts

VERSIONS_HELD = 4
SHOWN = ("generation", "id", "text", "text_pair", "label", "label_number")


@dataclass(frozen=True)
class RankedVersion:
    """A set version's members, by importance descending, and the orders of its queue. `by_ordinal`: positions
    in the order of the ordinals."""

    members: Placement
    orders: list[Order]
    by_ordinal: Order

    def reviewed(self, verdicts: Verdicts) -> NDArray[np.bool_]:
        """Whether there is a verdict in force on the content of each member (n,)."""
        ordinals, generations = self.members.ordinals, self.members.generations
        reviewed = np.zeros(len(ordinals), dtype=bool)
        if len(ordinals):
            at = np.searchsorted(ordinals, verdicts.ordinals, sorter=self.by_ordinal)
            meant = self.by_ordinal[np.minimum(at, len(ordinals) - 1)]  # of few members, where there are many
            reviewed[meant] = verdicts.of(ordinals[meant], generations[meant]) != NO_VERDICT
        return reviewed


class ReviewQueue:
    """Keeps the last few versions: to rank one takes a while, to take the first rows of it does not.

    A version never changes. Members that were void when it was ranked stay so and are left out; those that
    have become void since are found when their rows are read.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], RankedVersion] = OrderedDict()
        self._lock = Lock()

    def first(self, state: State, dataset: Dataset, limit: int) -> dict[str, Any]:
        """The first rows of the queue that nobody has reviewed.

        Raises:
            NotFound: there are no sets yet.
        """
        version = state.sets.version(dataset, None).version
        ranked = self._ranked(state, dataset, version)
        reviewed = ranked.reviewed(state.reviews.in_force(dataset))
        queue = alternating(ranked.orders, reviewed)
        items: list[dict[str, Any]] = []
        while some := list(islice(queue, limit - len(items))):
            items += _shown(state, dataset, ranked.members, some)
        return {"version": version, "items": items}

    def _ranked(self, state: State, dataset: Dataset, version: int) -> RankedVersion:
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
    return RankedVersion(members, orders, np.argsort(members.ordinals))


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


def _shown(state: State, dataset: Dataset, members: Placement, positions: list[int]) -> list[dict[str, Any]]:
    """The rows at these positions, without those whose content has changed or is gone."""
    ordinals = members.ordinals[positions].tolist()
    rows = state.samples.by_ordinals(dataset, ordinals, SHOWN)
    shown = []
    for position, ordinal in zip(positions, ordinals, strict=True):
        row = rows.get(ordinal)
        if row is None or row["generation"] != members.generations[position]:
            continue
        noise = float(members.noise[position])
        shown.append(
            {
                "id": row["id"],
                "text": row["text"],
                "text_pair": row["text_pair"],
                "label": StoredLabel(row["label"], row["label_number"]).value(),
                "suggested_label": _class_label(dataset, int(members.suggested[position])),
                "noise_probability": None if np.isnan(noise) else noise,
                "set": SET_BY_CODE[int(members.sets[position])],
                "reason": REASONS[int(members.reasons[position])],
                "importance": float(members.importance[position]),
            }
        )
    return shown


def _class_label(dataset: Dataset, index: int) -> Label | None:
    labels = dataset.labels or ()
    return labels[index] if 0 <= index < len(labels) else None
