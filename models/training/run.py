"""A training run that yields the signals of every visit, step by step."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.batching import LabelledTexts, length_sorted_batches
from models.encoders import LoadedClassifier
from models.gradients import GradientObserver, ParameterCoverage, SeededProjection
from models.signals import FreeSignals, VisitSignals, free_signals
from models.training.checks import require_finite
from models.training.config import TrainingConfig
from models.training.direction import ValidationDirection
from models.training.loop import Batches, StepResult, TrainingRun
from models.training.randomness import seeded_randomness

_PROJECTION_SEED = 0
"""The same for every run: what runs add up must be under one map, whatever their seeds."""


class ScoringRun(TrainingRun[VisitSignals]):
    """Fine-tunes a classifier and records every visit on the way.

    The signals of a visit are those of the very forward and backward pass that trains (its dropout
    included), taken before clipping. Parameters that no fast rule covers are measured by a backward pass a
    sample, and the coverage says so; those with requires_grad False count for nothing.
    """

    def __init__(
        self,
        classifier: LoadedClassifier,
        train: LabelledTexts,
        validation: LabelledTexts | None,
        config: TrainingConfig,
        device: torch.device,
    ) -> None:
        super().__init__(classifier, train, validation, config, device)
        self._direction = self._validation_direction()
        dim = config.projection_dim
        self._projection = None if dim is None else SeededProjection(dim, _PROJECTION_SEED)
        self._coverage = GradientObserver(self._model, fallback="exact").coverage
        self._observer: GradientObserver | None = None

    @property
    def coverage(self) -> tuple[ParameterCoverage, ...]:
        """Which trainable parameters the gradient norm covers, and by which rule."""
        return self._coverage

    def measure(self, outside: LabelledTexts, *, start: int = 0) -> Generator[VisitSignals, None, None]:
        """Visits samples that the run does not train on: their signals under the model as it stands.

        Batch by batch, from batch number `start` on, dropout as in training; the model stays as it is.
        Positions are those in `outside`. Raises ModelError `non_finite_score`.
        """
        batches = length_sorted_batches(outside.tokens.lengths, self._config.per_device_train_batch_size)
        with self._observing():
            for number, batch in enumerate(batches[start:], start):
                self._model.train()
                signals = self._signals(outside, [batch], self.total_steps + number)
                self._optimizer.zero_grad(set_to_none=True)
                yield signals

    def state_dict(self) -> dict[str, Any]:
        direction = {} if self._direction is None else self._direction.state_dict()
        return super().state_dict() | {"direction": direction}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self._direction is not None:
            self._direction.load_state_dict(state["direction"])

    @contextmanager
    def _observing(self) -> Iterator[GradientObserver]:
        with GradientObserver(self._model, fallback="exact") as observer:
            self._observer = observer
            try:
                yield observer
            finally:
                self._observer = None

    @contextmanager
    def _in_epoch(self) -> Iterator[None]:
        with self._observing() as observer:
            observer.set_projection(self._projection)
            yield
            self._coverage = observer.coverage  # the fallback takes parameters over as it meets them

    def _accumulate(self, data: LabelledTexts, micro_batches: Batches, step: int) -> VisitSignals:
        observer = self._observer
        assert observer is not None
        weight = self._loss_scale.factor / sum(len(batch) for batch in micro_batches)
        self._optimizer.zero_grad(set_to_none=True)
        grad_norms: list[torch.Tensor] = []
        free: list[FreeSignals] = []
        alignments: list[torch.Tensor] = []
        projections: list[torch.Tensor] = []
        for place, batch in enumerate(micro_batches):
            with seeded_randomness(self._device, self._config.seed, step, place):
                logits, losses, labels = self._forward(data, batch)
                (losses * weight).sum().backward()
            gradients = observer.take(weight)
            grad_norms.append(gradients.norms)
            if self._direction is not None:
                alignments.append(self._direction.alignment(gradients))
            if gradients.projections is not None:
                projections.append(gradients.projections)
            free.append(free_signals(logits, labels))
        return VisitSignals.collect(micro_batches, grad_norms, free, alignments, projections)

    def _advance(self, micro_batches: Batches) -> StepResult[VisitSignals]:
        if self._direction is not None:
            assert self._observer is not None
            self._direction.guide(self._observer, self._step)
        return super()._advance(micro_batches)

    def _losses(self, signals: VisitSignals) -> NDArray[np.float32]:
        return signals.loss

    def _overflowed(self, signals: VisitSignals) -> bool:
        return not np.isfinite(signals.grad_norm).all()

    def _require_finite(self, signals: VisitSignals) -> None:
        require_finite(signals)

    def _validation_direction(self) -> ValidationDirection | None:
        config = self._config
        if self._validation is None or config.alignment_steps is None:
            return None
        return ValidationDirection(
            self._model,
            self._optimizer,
            self._validation,
            refresh_steps=config.alignment_steps,
            samples=config.alignment_samples,
            seed=config.seed,
            device=self._device,
        )
