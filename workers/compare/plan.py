"""Which trainings a comparison takes, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts import Dataset
from app.contracts.expressions import read_set_expression
from app.contracts.params import CompareParams
from app.store.state import State
from models.losses.graded import require_order
from models.training import TrainingConfig
from workers.score.configuration import training_config, with_seed
from workers.score.data import Rows
from workers.train.subset import as_many, members

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Training:
    """One of them. seed: of the model's head, the batches, dropout and what is drawn at random."""

    subset: str
    seed: int
    positions: Ints
    config: TrainingConfig
    steps: int


@dataclass(frozen=True)
class Trained:
    """logits: (n, classes) of the test samples. train_loss: mean of the last epoch."""

    training: Training
    logits: NDArray[np.float32]
    train_loss: float
    seconds: float


def named_members(
    state: State, dataset: Dataset, train: Rows, params: CompareParams
) -> dict[str, NDArray[np.int64]]:
    """Positions of the sets that each subset names, random or not. Raises as `members`."""
    return {text: members(state, dataset, train, read_set_expression(text)) for text in params.subsets}


def trainings(named: Mapping[str, Ints], train: Rows, params: CompareParams) -> list[Training]:
    """Seed by seed, so that a job that breaks off has compared something.

    Raises ModelError `nothing_to_rank` where the loss would find nothing to learn in one of them.
    """
    config = training_config(params)
    steps = params.max_steps
    if steps is None and params.equal == "steps":
        steps = max(config.total_steps(len(one), train.queries[one]) for one in named.values())
    planned = []
    for number in range(params.seeds):
        mine = with_seed(config, number, max_steps=steps)
        for subset, positions in named.items():
            if read_set_expression(subset).random:
                positions = as_many(train, positions, mine.seed)
            require_order(config.loss, train.labels[positions], train.queries[positions])
            own = mine.total_steps(len(positions), train.queries[positions])
            planned.append(Training(subset, mine.seed, positions, mine, own))
    return planned
