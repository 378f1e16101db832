"""A training run that yields the signals of every visit, step by step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.batching import LabelledTexts, TokenizedTexts, length_sorted_batches
from models.encoders import LoadedClassifier
from models.encoders.head import HeadReader, HeadTensors, HeadViews, with_bias_column
from models.gradients import GradientObserver, ParameterCoverage, SeededProjection, adam_preconditioner
from models.losses import CROSS_ENTROPY
from models.memory import MicroBatch
from models.reading import outputs_by_batch
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
        micro_batch: MicroBatch | None = None,
    ) -> None:
        if config.loss != CROSS_ENTROPY:
            raise ValueError(f"samples are scored by cross_entropy, not by {config.loss}")
        super().__init__(classifier, train, validation, config, device, micro_batch)
        self._direction = self._validation_direction()
        dim = config.projection_dim
        self._projection = None if dim is None else SeededProjection(dim, _PROJECTION_SEED)
        self._coverage = GradientObserver(self._model, fallback="exact").coverage
        self._observer: GradientObserver | None = None
        self._head = HeadReader.of(self._model)

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

    def look(self, texts: TokenizedTexts, on_batch: Callable[[], object] | None = None) -> HeadViews | None:
        """How the last layer sees these texts as the model stands, dropout off; None of a model that has no
        such layer. `on_batch()` is called after each batch."""
        if self._head is None:
            return None
        batches: list[NDArray[np.int64]] = []
        found: list[HeadTensors] = []
        size, dtype = self._config.per_device_eval_batch_size, self._autocast_dtype
        reading = outputs_by_batch(self._model, texts, batch_size=size, autocast_dtype=dtype)
        with self._head.watching(), closing(reading):
            for batch, outputs in reading:
                views = self._head.take(outputs.logits, texts.lengths_of(batch))
                if views is None:
                    return None
                batches.append(batch)
                found.append(views)
                if on_batch is not None:
                    on_batch()
        return HeadViews.joined(found).take(np.argsort(np.concatenate(batches)))

    def head_preconditioner(self) -> NDArray[np.float32] | None:
        """(classes, width + 1): by how much the optimiser, as it stands, stretches the gradient of each
        weight of the last layer, and in the last column of its bias. None where that layer does not train."""
        layer = None if self._head is None else self._head.layer
        if layer is None or not layer.weight.requires_grad:
            return None
        parts = {name: part for name, part in layer.named_parameters() if part.requires_grad}
        stretched = adam_preconditioner(self._optimizer, parts)
        return with_bias_column(stretched["weight"], stretched.get("bias"))

    @contextmanager
    def _observing(self) -> Iterator[GradientObserver]:
        head = nullcontext() if self._head is None else self._head.watching()
        with head, GradientObserver(self._model, fallback="exact") as observer:
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
        views: list[HeadTensors] = []
        for place, batch in enumerate(micro_batches):
            with seeded_randomness(self._device, self._config.seed, step, place):
                logits, losses, labels = self._forward(data, batch)
                (losses * weight).sum().backward()
            seen = None if self._head is None else self._head.take(logits, data.tokens.lengths_of(batch))
            if seen is not None:
                views.append(seen)
            gradients = observer.take(weight)
            grad_norms.append(gradients.norms)
            if self._direction is not None:
                alignments.append(self._direction.alignment(gradients))
            if gradients.projections is not None:
                projections.append(gradients.projections)
            free.append(free_signals(logits, labels))
        return VisitSignals.collect(micro_batches, grad_norms, free, alignments, projections, views)

    def _abandon(self) -> None:
        super()._abandon()
        if self._observer is not None:
            self._observer.abandon()
        if self._head is not None:
            self._head.forget()

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
