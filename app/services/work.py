"""How much a job has to do, as far as its request and the dataset tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.contracts import Dataset
from app.contracts.expressions import FULL, read_set_expression
from app.contracts.params import (
    CompareParams,
    GrowParams,
    JobParams,
    ScoreParams,
    TrainingParams,
    TrainParams,
)
from app.store.state import State


@dataclass(frozen=True)
class Work:
    """train_samples: that the job trains on. steps: of the optimiser. visits: samples through the model and
    back, in all. At most: early stopping may end it before."""

    train_samples: int
    steps: int
    visits: int

    def __add__(self, other: Work) -> Work:
        return Work(self.train_samples, self.steps + other.steps, self.visits + other.visits)


def work_of(params: JobParams, count: int, subsets: Sequence[int] = ()) -> Work | None:
    """Of a job that trains; None of others.

    count: labelled train samples. subsets: of these in each of the sets that it trains on (`subset_sizes`).
    """
    if isinstance(params, ScoreParams):
        folds = 0 if params.cross_fit is None else params.cross_fit - 1
        return _trainings(params, count, params.seeds + folds)
    if isinstance(params, GrowParams):
        return _growth(params, count)
    if isinstance(params, TrainParams):
        return _fitted(params, count, subsets[0], params.max_steps)
    if isinstance(params, CompareParams):
        longest = max(subsets) if params.equal == "steps" else None
        steps = params.max_steps or (None if longest is None else _steps(params, longest))
        each = [_fitted(params, count, size, steps) for size in subsets for _ in range(params.seeds)]
        return Work(count, sum(one.steps for one in each), sum(one.visits for one in each))
    return None


def subset_sizes(state: State, dataset: Dataset, params: JobParams, count: int) -> list[int]:
    """Samples in each of the sets that a job trains on, by the sizes of their versions."""
    if isinstance(params, TrainParams):
        if params.ids is not None:
            return [len(params.ids)]
        return [_size(state, dataset, params.set, params.version, count)]
    if isinstance(params, CompareParams):
        return [_size(state, dataset, text, None, count) for text in params.subsets]
    return []


def held_out(params: JobParams, count: int, *, validation: bool) -> int:
    """Train samples that are held out to validate. validation: whether the client sent such a split."""
    if validation or not isinstance(params, TrainingParams):
        return 0
    fraction = params.validation_fraction
    if fraction is None:
        stops = isinstance(params, ScoreParams | TrainParams) and params.early_stopping_patience is not None
        best = isinstance(params, TrainParams) and params.load_best_model_at_end
        fraction = 0.1 if stops or best or isinstance(params, GrowParams) else 0.0
    return round(fraction * count)


def _size(state: State, dataset: Dataset, text: str, version: int | None, count: int) -> int:
    expression = read_set_expression(text)
    if not expression.names or text == FULL:
        return count
    sizes = state.sets.version(dataset, expression.version or version).sizes
    scored = sum(sizes.values())
    return sum(sizes.get(name, max(0, count - scored)) for name in expression.names)


def _steps(params: TrainingParams, count: int) -> int:
    batches = -(-count // params.per_device_train_batch_size)
    return params.num_train_epochs * -(-batches // params.gradient_accumulation_steps)


def _trainings(params: TrainingParams, count: int, number: int) -> Work:
    return Work(count, number * _steps(params, count), number * params.num_train_epochs * count)


def _fitted(params: TrainParams | CompareParams, count: int, size: int, max_steps: int | None) -> Work:
    a_step = min(size, params.per_device_train_batch_size * params.gradient_accumulation_steps)
    steps = max_steps or _steps(params, size)
    visits = params.num_train_epochs * size if max_steps is None else steps * a_step
    work = Work(size, steps, visits)
    domain = params.domain_pretraining
    if domain is None:
        return work
    own = params.model_copy(update={"num_train_epochs": domain.num_train_epochs})
    texts = domain.max_steps * a_step if domain.max_steps else domain.num_train_epochs * count
    return work + Work(count, domain.max_steps or _steps(own, count), texts)


def _growth(params: GrowParams, count: int) -> Work:
    """All rounds: each trains two models for as many steps as a full core takes, and visits the rest."""
    full = max(1, round(params.core_fraction * count))
    rounds, steps = params.max_rounds, _steps(params, full)
    outside = round(count * (1 - (params.initial_fraction + params.core_fraction) / 2))
    batches = -(-outside // params.per_device_train_batch_size)
    visits = 2 * params.num_train_epochs * full + outside
    return Work(count, rounds * (2 * steps + batches), rounds * visits)
