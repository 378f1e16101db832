"""Which samples a job trains on: sets of a version, all, as many at random, or a list of ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, Dataset
from app.contracts.expressions import SetExpression
from app.errors import JobFailed
from app.store.state import State
from models.selection import drawn, random_by_label
from workers.score.data import Rows
from workers.score.recording import some

Ints = NDArray[np.int64]


def members(state: State, dataset: Dataset, train: Rows, expression: SetExpression) -> Ints:
    """Positions (k,) in `train`, rising, of what is named, random or not. A sample that has changed since the
    version is `unscored` in it.

    Raises:
        JobFailed: `empty_set`.
        NotFound: the version is no longer kept.
    """
    if not expression.names:
        return np.arange(len(train))
    assert expression.version is not None
    codes = [CODE_BY_SET[name] for name in expression.names]
    positions = np.flatnonzero(np.isin(_codes(state, dataset, train, expression.version), codes))
    if not len(positions):
        named, version = "+".join(sorted(expression.names)), expression.version
        raise JobFailed("empty_set", f"there is no labelled train sample in {named} of version {version}")
    return positions


def as_many(train: Rows, positions: Ints, seed: int) -> Ints:
    """As many samples of all, each label with its share: positions, rising."""
    return random_by_label(train.labels, len(positions), drawn(train.ids, seed))


def _codes(state: State, dataset: Dataset, train: Rows, version: int) -> NDArray[np.uint8]:
    """(n,) the code of each sample's set."""
    state.sets.version(dataset, version)
    column = state.sets.column(dataset, version)
    known = train.ordinals < len(column)
    cells = column[np.where(known, train.ordinals, 0)] if len(column) else np.zeros(len(train), column.dtype)
    valid = known & (cells["generation"] == train.generations)
    return np.where(valid, cells["set"], 0).astype(np.uint8)


def of_ids(train: Rows, ids: list[str], *, excluding: bool = False) -> Ints:
    """Positions (k,) in `train`, rising; excluding: flags may have left some out of it.

    Raises JobFailed `unknown_sample_ids`.
    """
    position = {sample_id: i for i, sample_id in enumerate(train.ids)}
    unknown = [sample_id for sample_id in ids if sample_id not in position]
    if unknown:
        or_excluded = ", or exclude_flags leaves it out" if excluding else ""
        detail = f"no labelled train sample has the id {some(unknown)}{or_excluded}"
        raise JobFailed("unknown_sample_ids", detail)
    return np.array(sorted({position[sample_id] for sample_id in ids}), dtype=np.int64)
