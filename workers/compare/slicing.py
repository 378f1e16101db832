"""The slices that a comparison is told by, and how far each differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.contracts import Dataset, Label
from app.contracts.params import CompareParams
from app.contracts.slices import GROUP_SIZE, LABEL, meta_field
from app.errors import JobFailed
from app.store.state import State
from workers.compare.slice_values import Value, sliced_sizes, sliced_values
from workers.measuring import Ints, Measure
from workers.score.data import Rows
from workers.score.recording import some

LEAST_IN_SLICE = 20
"""Of fewer test samples (queries) nothing is said."""
Meta = Sequence[Mapping[str, Value | None]]
V = TypeVar("V")


@dataclass(frozen=True)
class Slice:
    """inside: (m,) of the values that models are compared by."""

    by: str
    value: Label
    inside: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return int(self.inside.sum())


@dataclass(frozen=True)
class Slicing:
    """slices: large enough to speak of. too_small: how many are not. left_out: queries whose samples differ
    in the field."""

    by: str
    slices: tuple[Slice, ...]
    too_small: int
    left_out: int

    def described(self) -> dict[str, Any]:
        told = {"slices": len(self.slices), "too_small": self.too_small, "left_out": self.left_out}
        return {"by": self.by, **told, "least": LEAST_IN_SLICE}


def slicings(
    state: State, dataset: Dataset, version: int, measure: Measure, params: CompareParams
) -> list[Slicing]:
    """Those asked for that the dataset has something for, and by label where models are compared by samples.

    Raises JobFailed `unknown_field`: no test sample has such a field.
    """
    asked = [text for text in params.slices if text != LABEL]
    if GROUP_SIZE in asked and not any(group is not None for group in measure.rows.groups):
        asked.remove(GROUP_SIZE)
    meta: Meta = ()
    if any(meta_field(text) is not None for text in asked):
        meta = _meta(state, dataset, version, measure.rows)
        _require_fields(asked, meta)
    found = [] if measure.by_query else [_by_label(measure)]
    return found + [
        _by_group_size(measure) if text == GROUP_SIZE else _by_field(text, meta, measure) for text in asked
    ]


def _by_label(measure: Measure) -> Slicing:
    return _slicing(LABEL, measure.classes, measure.rows.labels)


def _by_group_size(measure: Measure) -> Slicing:
    groups = measure.rows.groups
    sizes = Counter(group for group in groups if group is not None)
    raw = [None if group is None else sizes[group] for group in groups]
    units, values = _where_alike(raw, measure.units)
    return _slicing(GROUP_SIZE, *_spread(units, *sliced_sizes(values), measure))


def _by_field(text: str, meta: Meta, measure: Measure) -> Slicing:
    field = meta_field(text) or ""
    units, values = _where_alike([one.get(field) for one in meta], measure.units)
    return _slicing(text, *_spread(units, *sliced_values(values), measure))


def _spread(units: list[int], names: list[str], inside: Ints, measure: Measure) -> tuple[list[str], Ints]:
    """Codes of all values that models are compared by, −1 where a query's samples differ in the field."""
    codes = np.full(measure.units.max() + 1, -1, dtype=np.int64)
    codes[units] = inside
    return names, codes


def _where_alike(raw: Sequence[V], units: Ints) -> tuple[list[int], list[V]]:
    """The units whose samples all have one value, and that value."""
    held: dict[int, set[V]] = {}
    for value, unit in zip(raw, units.tolist(), strict=True):
        if unit >= 0:
            held.setdefault(unit, set()).add(value)
    alike = {unit: next(iter(values)) for unit, values in held.items() if len(values) == 1}
    return list(alike), list(alike.values())


def _slicing(by: str, names: Sequence[Label], codes: Ints) -> Slicing:
    slices = [Slice(by, name, codes == code) for code, name in enumerate(names)]
    enough = tuple(one for one in slices if one.count >= LEAST_IN_SLICE)
    too_small = sum(0 < one.count < LEAST_IN_SLICE for one in slices)
    return Slicing(by, enough, too_small, int((codes < 0).sum()))


def _meta(state: State, dataset: Dataset, version: int, test: Rows) -> Meta:
    """Of each test sample, in their order."""
    wanted = set(test.ordinals.tolist())
    held: dict[int, str | None] = {}
    for batch in state.samples.scan(dataset, version, ("ordinal", "meta")):
        pairs = zip(batch["ordinal"].to_pylist(), batch["meta"].to_pylist(), strict=True)
        held.update((ordinal, text) for ordinal, text in pairs if ordinal in wanted)
    return [{} if (text := held[ordinal]) is None else json.loads(text) for ordinal in test.ordinals.tolist()]


def _require_fields(asked: Sequence[str], meta: Meta) -> None:
    present = dict.fromkeys(name for one in meta for name, value in one.items() if value is not None)
    missing = [text for text in asked if (field := meta_field(text)) is not None and field not in present]
    if missing:
        have = f"they have {some(list(present))}" if present else "they have no meta"
        raise JobFailed("unknown_field", f"no labelled test sample has {some(missing)}; {have}")
