"""What a report says of a job's samples: their scores, and where a set version puts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts import REASONS, SET_BY_CODE, Dataset, Label
from app.store.records import Records
from app.store.state import State
from workers.score.data import JobData, Rows

LONGEST = 300
"""Characters of a text."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SortedSamples:
    """n train samples that have a place in the version. Arrays (n,). suggested: class, −1 where that is the
    label's or unknown; noise: NaN where there is no estimate."""

    rows: Rows
    classes: Sequence[Label]
    sets: Sequence[str]
    reasons: Sequence[str]
    importance: Floats
    confidence: Floats
    variability: Floats
    noise: Floats
    suggested: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, position: int) -> str:
        return text_of(self.rows, position)


def text_of(rows: Rows, position: int) -> str:
    """With its pair, if it has one."""
    pair = None if rows.text_pairs is None else rows.text_pairs[position]
    return rows.texts[position] if pair is None else f"{rows.texts[position]} ⟷ {pair}"


def cut(text: str) -> str:
    """As much as a table has room for."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"


def sorted_samples(
    state: State, dataset: Dataset, version: int, records: Records, data: JobData
) -> SortedSamples | None:
    """Those of the job's train samples that are still as they were; None where the version's file is gone."""
    archive = state.archive.of_dataset(dataset)
    name = archive.versions().get(version)
    if name is None:
        return None
    placed, train = archive.version(name).placement, data.train
    at = np.searchsorted(train.ordinals, placed.ordinals)
    at[at == len(train)] = 0
    mine = (train.ordinals[at] == placed.ordinals) & (train.generations[at] == placed.generations)
    order = np.flatnonzero(mine)[np.argsort(placed.ordinals[mine], kind="stable")]
    rows = train.take(at[order])
    held = records[rows.ordinals]
    return SortedSamples(
        rows=rows,
        classes=data.classes,
        sets=[SET_BY_CODE[code] for code in placed.sets[order].tolist()],
        reasons=[REASONS[code] for code in placed.reasons[order].tolist()],
        importance=placed.importance[order],
        confidence=held["confidence"].astype(np.float64),
        variability=held["variability"].astype(np.float64),
        noise=placed.noise[order],
        suggested=placed.suggested[order].astype(np.int64),
    )
