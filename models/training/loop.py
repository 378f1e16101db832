"""The loop that all training shares: batches, steps, epochs, and where it can go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedModel

from models.batching import Collator, LabelledTexts, epoch_batches, query_batches
from models.encoders import LoadedModel
from models.evaluation import EvaluationMetrics, classification_metrics, predict_logits
from models.losses import GradedLoss
from models.memory import MicroBatch, cut
from models.training.checks import require_same_run, require_trainable_data, run_identity
from models.training.config import TrainingConfig
from models.training.optimizer import build_optimizer, learning_rate_at
from models.training.precision import LossScale, autocast_dtype
from models.training.stopping import EarlyStopping

Batches = list[NDArray[np.int64]]
S = TypeVar("S")


@dataclass(frozen=True)
class StepResult(Generic[S]):
    """One optimiser step. step: counted from 1 over the whole run. epoch: counted from 0.

    loss: mean over the step's samples, before the update, as are the signals. epoch_metrics: of the
    validation split, at the last step of an epoch, None elsewhere and without a validation split.
    validation_loss: of the kind that trains, by which early stopping and the best epoch are judged.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    signals: S
    epoch_ended: bool = False
    epoch_metrics: EvaluationMetrics | None = None
    validation_loss: float | None = None


class TrainingRun(ABC, Generic[S]):
    """Fine-tunes a classifier; what each step tells is the subclass's business.

    In each epoch every training sample is visited once, in batches that depend on the seed and the
    epoch alone. A step is the mean loss over its samples, whatever its number of micro-batches, also
    where the last one of an epoch has fewer. The run seeds what is random by its position, see
    `seeded_randomness`, so it neither needs nor disturbs the caller's random state.

    `classifier.model` is moved to `device` and trained in place; parameters with requires_grad False
    stay as they are. Raises ModelError where the data or the precision do not fit.

    Where the device's memory does not suffice, a step is computed again in micro-batches of half the size:
    its gradient and its samples' signals are the same, since every sample's weight in the step is, but for
    dropout, which is drawn for each micro-batch. Several runs may share one `micro_batch`.
    """

    _graded: GradedLoss | None = None
    """None: cross-entropy."""

    def __init__(
        self,
        classifier: LoadedModel,
        train: LabelledTexts,
        validation: LabelledTexts | None,
        config: TrainingConfig,
        device: torch.device,
        micro_batch: MicroBatch | None = None,
    ) -> None:
        self._micro_batch = micro_batch or MicroBatch()
        self._autocast_dtype = autocast_dtype(config, device)
        self._validation = validation if validation is not None and len(validation) > 0 else None
        self._model = classifier.model
        self._train = train
        self._config = config
        self._require_trainable()
        self._model.to(device)  # type: ignore[arg-type]
        self._device = device
        self._collator = Collator.for_model(self._model)
        self._optimizer = build_optimizer(self._model, config)
        self._loss_scale = LossScale.for_dtype(self._autocast_dtype)
        self._stopping = EarlyStopping(config.early_stopping_patience)
        self._identity = run_identity(self._model, train, self._validation, config)
        self._steps_per_epoch = config.steps_per_epoch(len(train), train.queries)
        self._total_steps = config.max_steps or config.num_train_epochs * self._steps_per_epoch
        self._step = 0
        self._epoch = 0
        self._step_in_epoch = 0
        self._stopped_early = False

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """In which the model is read; None: float32."""
        return self._autocast_dtype

    @property
    def model(self) -> PreTrainedModel:
        return self._model

    @property
    def steps_per_epoch(self) -> int:
        return self._steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps of all epochs, or `max_steps`; early stopping may end the run before."""
        return self._total_steps

    @property
    def step_in_epoch(self) -> int:
        """Steps of the epoch that has begun."""
        return self._step_in_epoch

    @property
    def finished(self) -> bool:
        return self._stopped_early or self._step >= self.total_steps

    def steps(self) -> Generator[StepResult[S], None, None]:
        """Train from where the run stands, yielding after every optimiser step until it is finished.

        Between two steps the caller may save `state_dict`, evaluate or stop for good. Raises ModelError
        `non_finite_score` before the step in question changes the model.
        """
        while not self.finished:
            plan = self._epoch_plan()[: self._step_in_epoch + self.total_steps - self._step]
            with self._in_epoch():
                for micro_batches in plan[self._step_in_epoch : -1]:
                    yield self._advance(micro_batches)
                result = self._advance(plan[-1])
            yield self._close_epoch(result)

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
            "micro_batch": self._micro_batch.size,
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
        self._micro_batch.lower(state.get("micro_batch"))
        position = state["position"]
        self._step = int(position["step"])
        self._epoch = int(position["epoch"])
        self._step_in_epoch = int(position["step_in_epoch"])
        self._stopped_early = bool(position["stopped_early"])

    def _require_trainable(self) -> None:
        """Raises ModelError unless the splits can train and evaluate the model."""
        require_trainable_data(self._model, self._train, self._validation, self._config)

    @contextmanager
    def _in_epoch(self) -> Iterator[None]:
        """Around the steps of an epoch."""
        yield

    @abstractmethod
    def _accumulate(self, data: LabelledTexts, micro_batches: Batches, step: int) -> S:
        """Leave the gradient of the step's mean loss, times the loss scale, in `.grad`."""

    @abstractmethod
    def _losses(self, signals: S) -> NDArray[np.float32]:
        """(samples,) of the step."""

    @abstractmethod
    def _overflowed(self, signals: S) -> bool:
        """Whether a gradient is not finite."""

    @abstractmethod
    def _require_finite(self, signals: S) -> None:
        """Raises ModelError `non_finite_score`."""

    def _epoch_plan(self) -> list[Batches]:
        """The micro-batches of each step of the current epoch."""
        config = self._config
        batch_size, drawn = config.per_device_train_batch_size, {"seed": config.seed, "epoch": self._epoch}
        if config.by_query:
            assert self._train.queries is not None
            batches = query_batches(self._train.queries, batch_size, **drawn)
        else:
            batches = epoch_batches(self._train.tokens.lengths, batch_size, **drawn)
        size = config.gradient_accumulation_steps
        return [batches[start : start + size] for start in range(0, len(batches), size)]

    def _advance(self, micro_batches: Batches) -> StepResult[S]:
        """One optimiser step."""
        self._model.train()
        signals = self._signals(self._train, micro_batches, self._step)
        learning_rate = learning_rate_at(self._step, self.total_steps, self._config)
        self._update(learning_rate)
        self._step += 1
        self._step_in_epoch += 1
        loss = float(self._losses(signals).mean(dtype=np.float64))
        return StepResult(self._step, self._epoch, loss, learning_rate, signals)

    def _signals(self, data: LabelledTexts, micro_batches: Batches, step: int) -> S:
        signals = self._accumulate_in_memory(data, micro_batches, step)
        while self._overflowed(signals) and self._loss_scale.shrink():
            signals = self._accumulate_in_memory(data, micro_batches, step)
        self._require_finite(signals)
        return signals

    def _accumulate_in_memory(self, data: LabelledTexts, micro_batches: Batches, step: int) -> S:
        """Raises ModelError `out_of_memory`."""

        def attempt(size: int) -> S:
            parts = [part for batch in micro_batches for part in self._cut(data, batch, size)]
            return self._accumulate(data, parts, step)

        largest = max(len(batch) for batch in micro_batches)
        return self._micro_batch.fit(largest, attempt, self._abandon)

    def _cut(self, data: LabelledTexts, batch: NDArray[np.int64], size: int) -> Batches:
        return cut(batch, size, data.codes[batch] if self._config.by_query else None)

    def _abandon(self) -> None:
        """Lets go of what a step that failed has left."""
        self._optimizer.zero_grad(set_to_none=True)

    def _forward(
        self, data: LabelledTexts, batch: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (batch, classes), unreduced losses (batch,) in float32 and labels (batch,)."""
        inputs = self._collator.collate(data.tokens, batch, self._device)
        labels = torch.from_numpy(data.labels[batch]).to(self._device)
        logits = self._read(inputs)
        return logits, self._sample_losses(logits.float(), labels, data, batch), labels

    def _read(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The model's logits, in the precision that it trains in."""
        enabled = self._autocast_dtype is not None
        with torch.autocast(self._device.type, dtype=self._autocast_dtype, enabled=enabled):
            logits: torch.Tensor = self._model(**inputs).logits
        return logits

    def _sample_losses(
        self, logits: torch.Tensor, labels: torch.Tensor, data: LabelledTexts, batch: NDArray[np.int64]
    ) -> torch.Tensor:
        """(batch,), whose mean over the step is what trains."""
        if self._graded is not None:
            queries = torch.from_numpy(data.codes[batch]).to(self._device)
            return self._graded(logits, labels, queries)
        smoothing = self._config.label_smoothing_factor
        return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

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

    def _close_epoch(self, result: StepResult[S]) -> StepResult[S]:
        """Move to the next epoch; evaluate and judge whether to stop."""
        self._epoch += 1
        self._step_in_epoch = 0
        if self._validation is None:
            return replace(result, epoch_ended=True)
        logits = predict_logits(
            self._model,
            self._validation.tokens,
            batch_size=self._config.per_device_eval_batch_size,
            autocast_dtype=self._autocast_dtype,
        )
        labels = self._validation.labels
        metrics = classification_metrics(logits, labels)
        graded = self._graded
        loss = metrics.loss if graded is None else graded.mean(logits, labels, self._validation.codes)
        self._stopped_early = self._stopping.should_stop(loss)
        return replace(result, epoch_ended=True, epoch_metrics=metrics, validation_loss=loss)
