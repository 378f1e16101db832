"""A training run that yields the signals of every visit, step by step."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.batching import Collator, LabelledTexts, epoch_batches, length_sorted_batches
from models.encoders import LoadedClassifier
from models.evaluation import EvaluationMetrics, evaluate
from models.gradients import GradientObserver, ParameterCoverage, SeededProjection
from models.signals import FreeSignals, VisitSignals, free_signals
from models.training.checks import require_finite, require_same_run, require_trainable_data, run_identity
from models.training.config import TrainingConfig
from models.training.direction import ValidationDirection
from models.training.optimizer import build_optimizer, learning_rate_at
from models.training.precision import LossScale, autocast_dtype
from models.training.randomness import seeded_randomness
from models.training.stopping import EarlyStopping

Batches = list[NDArray[np.int64]]
_PROJECTION_SEED = 0
"""The same for every run: what runs add up must be under one map, whatever their seeds."""


@dataclass(frozen=True)
class StepResult:
    """One optimiser step. step: counted from 1 over the whole run. epoch: counted from 0.

    loss: mean over the step's samples, before the update, as are the signals. epoch_metrics: of the
    validation split, at the last step of an epoch, None elsewhere and without a validation split.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    signals: VisitSignals
    epoch_ended: bool = False
    epoch_metrics: EvaluationMetrics | None = None


class ScoringRun:
    """Fine-tunes a classifier and records every visit on the way.

    In each epoch every training sample is visited once, in batches that depend on the seed and the
    epoch alone. A step is the mean loss over its samples, whatever its number of micro-batches, also
    where the last one of an epoch has fewer. The signals of a visit are those of the very forward and
    backward pass that trains (its dropout included), taken before clipping. Parameters that no
    fast rule covers are measured by a backward pass a sample, and the coverage says so. The run seeds what is
    random by its position, see `seeded_randomness`, so it neither needs nor disturbs the caller's
    random state.

    `classifier.model` is moved to `device` and trained in place; parameters with requires_grad False
    stay as they are and count for nothing. Raises ModelError where the data or the precision do not
    fit.
    """

    def __init__(
        self,
        classifier: LoadedClassifier,
        train: LabelledTexts,
        validation: LabelledTexts | None,
        config: TrainingConfig,
        device: torch.device,
    ) -> None:
        self._autocast_dtype = autocast_dtype(config, device)
        self._validation = validation if validation is not None and len(validation) > 0 else None
        self._model = classifier.model
        require_trainable_data(self._model, train, self._validation, config)
        self._model.to(device)  # type: ignore[arg-type]
        self._train = train
        self._config = config
        self._device = device
        self._collator = Collator.for_model(self._model)
        self._optimizer = build_optimizer(self._model, config)
        self._loss_scale = LossScale.for_dtype(self._autocast_dtype)
        self._stopping = EarlyStopping(config.early_stopping_patience)
        self._direction = self._validation_direction()
        dim = config.projection_dim
        self._projection = None if dim is None else SeededProjection(dim, _PROJECTION_SEED)
        self._coverage = GradientObserver(self._model, fallback="exact").coverage
        self._identity = run_identity(self._model, train, self._validation, config)
        self._step = 0
        self._epoch = 0
        self._step_in_epoch = 0
        self._stopped_early = False

    @property
    def coverage(self) -> tuple[ParameterCoverage, ...]:
        """Which trainable parameters the gradient norm covers, and by which rule."""
        return self._coverage

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """In which the model is read; None: float32."""
        return self._autocast_dtype

    @property
    def steps_per_epoch(self) -> int:
        return self._config.steps_per_epoch(len(self._train))

    @property
    def total_steps(self) -> int:
        """Steps of all epochs; early stopping may end the run before."""
        return self.steps_per_epoch * self._config.num_train_epochs

    @property
    def finished(self) -> bool:
        return self._stopped_early or self._epoch >= self._config.num_train_epochs

    def steps(self) -> Generator[StepResult, None, None]:
        """Train from where the run stands, yielding after every optimiser step until it is finished.

        Between two steps the caller may save `state_dict`, evaluate or stop for good. Raises ModelError
        `non_finite_score` before the step in question changes the model.
        """
        while not self.finished:
            plan = self._epoch_plan()
            with GradientObserver(self._model, fallback="exact") as observer:
                observer.set_projection(self._projection)
                for micro_batches in plan[self._step_in_epoch : -1]:
                    yield self._advance(observer, micro_batches)
                result = self._advance(observer, plan[-1])
                self._coverage = observer.coverage  # the fallback takes parameters over as it meets them
            yield self._close_epoch(result)

    def measure(self, outside: LabelledTexts, *, start: int = 0) -> Generator[VisitSignals, None, None]:
        """Visits samples that the run does not train on: their signals under the model as it stands.

        Batch by batch, from batch number `start` on, dropout as in training; the model stays as it is.
        Positions are those in `outside`. Raises ModelError `non_finite_score`.
        """
        batches = length_sorted_batches(outside.tokens.lengths, self._config.per_device_train_batch_size)
        with GradientObserver(self._model, fallback="exact") as observer:
            for number, batch in enumerate(batches[start:], start):
                self._model.train()
                signals = self._signals(observer, outside, [batch], self.total_steps + number)
                self._optimizer.zero_grad(set_to_none=True)
                yield signals

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs to go on to the bit, on the same device and library versions.

        Only dicts, lists, strings, numbers and tensors: `torch.save` it, and read it back with
        `torch.load(..., weights_only=True)`. The tensors are the live ones, not copies: save before the
        next step. Random state is not in it, because it follows from the position.
        """
        return {
            "identity": dict(self._identity),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "loss_scale": self._loss_scale.state_dict(),
            "early_stopping": self._stopping.state_dict(),
            "direction": {} if self._direction is None else self._direction.state_dict(),
            "position": {
                "step": self._step,
                "epoch": self._epoch,
                "step_in_epoch": self._step_in_epoch,
                "stopped_early": self._stopped_early,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of a run with the same model, data and config, else `checkpoint_mismatch`."""
        require_same_run(self._identity, state["identity"])
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._loss_scale.load_state_dict(state["loss_scale"])
        self._stopping.load_state_dict(state["early_stopping"])
        if self._direction is not None:
            self._direction.load_state_dict(state["direction"])
        position = state["position"]
        self._step = int(position["step"])
        self._epoch = int(position["epoch"])
        self._step_in_epoch = int(position["step_in_epoch"])
        self._stopped_early = bool(position["stopped_early"])

    def _epoch_plan(self) -> list[Batches]:
        """The micro-batches of each step of the current epoch."""
        config = self._config
        batches = epoch_batches(
            self._train.tokens.lengths,
            config.per_device_train_batch_size,
            seed=config.seed,
            epoch=self._epoch,
        )
        size = config.gradient_accumulation_steps
        return [batches[start : start + size] for start in range(0, len(batches), size)]

    def _advance(self, observer: GradientObserver, micro_batches: Batches) -> StepResult:
        """One optimiser step."""
        self._model.train()
        if self._direction is not None:
            self._direction.guide(observer, self._step)
        signals = self._signals(observer, self._train, micro_batches, self._step)
        learning_rate = learning_rate_at(self._step, self.total_steps, self._config)
        self._update(learning_rate)
        self._step += 1
        self._step_in_epoch += 1
        loss = float(signals.loss.mean(dtype=np.float64))
        return StepResult(self._step, self._epoch, loss, learning_rate, signals)

    def _signals(
        self, observer: GradientObserver, data: LabelledTexts, micro_batches: Batches, step: int
    ) -> VisitSignals:
        signals = self._accumulate(observer, data, micro_batches, step)
        while not np.isfinite(signals.grad_norm).all() and self._loss_scale.shrink():
            signals = self._accumulate(observer, data, micro_batches, step)
        require_finite(signals)
        return signals

    def _accumulate(
        self, observer: GradientObserver, data: LabelledTexts, micro_batches: Batches, step: int
    ) -> VisitSignals:
        """Leave the gradient of the step's mean loss, times the loss scale, in `.grad`."""
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

    def _forward(
        self, data: LabelledTexts, batch: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (batch, classes), unreduced losses (batch,) in float32 and labels (batch,)."""
        inputs = self._collator.collate(data.tokens, batch, self._device)
        labels = torch.from_numpy(data.labels[batch]).to(self._device)
        enabled = self._autocast_dtype is not None
        with torch.autocast(self._device.type, dtype=self._autocast_dtype, enabled=enabled):
            logits: torch.Tensor = self._model(**inputs).logits
        return logits, functional.cross_entropy(logits.float(), labels, reduction="none"), labels

    def _update(self, learning_rate: float) -> None:
        """Undo the loss scale, clip and step."""
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        if self._loss_scale.factor != 1.0:
            for gradient in gradients:
                gradient.div_(self._loss_scale.factor)
        if self._config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._loss_scale.grow()

    def _close_epoch(self, result: StepResult) -> StepResult:
        """Move to the next epoch; evaluate and judge whether to stop."""
        self._epoch += 1
        self._step_in_epoch = 0
        if self._validation is None:
            return replace(result, epoch_ended=True)
        metrics = evaluate(
            self._model,
            self._validation,
            batch_size=self._config.per_device_eval_batch_size,
            autocast_dtype=self._autocast_dtype,
        )
        self._stopped_early = self._stopping.should_stop(metrics.loss)
        return replace(result, epoch_ended=True, epoch_metrics=metrics)
