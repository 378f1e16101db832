"""How to train: the names of Hugging Face's TrainingArguments, as far as they are supported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from models.batching import count_query_batches
from models.batching.texts import IntArray
from models.errors import ModelError
from models.losses import BY_QUERY, CROSS_ENTROPY, LOSSES

OPTIMIZERS = ("adamw_torch", "adafactor")
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
_SHORTEST_INPUT = 8
_MAY_BE_OFF = ("early_stopping_patience", "alignment_steps", "projection_dim", "max_steps")


@dataclass(frozen=True)
class TrainingConfig:
    """Training parameters; defaults as in TrainingArguments, but for the larger evaluation batch.

    num_train_epochs is a whole number, because every sample is visited once an epoch.
    max_grad_norm None switches clipping off. early_stopping_patience is the number of epochs without
    a lower validation loss after which training stops; None switches it off. max_length is for the
    caller that tokenizes. alignment_steps: every how many steps the validation direction is taken anew,
    from alignment_samples samples; None, or no validation split: no alignment. projection_dim: numbers kept
    of each visit's gradient by a random projection; None: none. max_steps: optimiser steps in place of those
    of num_train_epochs. load_best_model_at_end: by the validation loss after each epoch. loss: what a
    FittingRun minimises; a ScoringRun knows cross-entropy alone.
    Raises ModelError `invalid_training_config` that names every fault.
    """

    num_train_epochs: int = 3
    learning_rate: float = 5e-5
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 32
    gradient_accumulation_steps: int = 1
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    optim: str = "adamw_torch"
    lr_scheduler_type: str = "linear"
    max_grad_norm: float | None = 1.0
    seed: int = 42
    bf16: bool = False
    fp16: bool = False
    early_stopping_patience: int | None = None
    max_length: int = 128
    alignment_steps: int | None = None
    alignment_samples: int = 128
    projection_dim: int | None = None
    max_steps: int | None = None
    label_smoothing_factor: float = 0.0
    load_best_model_at_end: bool = False
    loss: str = CROSS_ENTROPY

    @property
    def by_query(self) -> bool:
        """Whether batches hold queries whole."""
        return self.loss in BY_QUERY

    def steps_per_epoch(self, samples: int, queries: IntArray | None = None) -> int:
        """Optimiser steps of one pass over so many samples; the last may have fewer micro-batches.

        queries: (samples,) codes; a loss by query needs them.
        """
        size = self.per_device_train_batch_size
        batches = -(-samples // size)
        if self.by_query:
            if queries is None:
                raise ValueError(f"how many steps {self.loss} takes depends on the queries")
            batches = count_query_batches(queries, size)
        return -(-batches // self.gradient_accumulation_steps)

    def total_steps(self, samples: int, queries: IntArray | None = None) -> int:
        """Of all epochs, or `max_steps`."""
        return self.max_steps or self.num_train_epochs * self.steps_per_epoch(samples, queries)

    def __post_init__(self) -> None:
        faults = [*self._whole_number_faults(), *self._number_faults(), *self._choice_faults()]
        if faults:
            raise ModelError(
                "invalid_training_config",
                f"The training parameters are out of range: {'; '.join(faults)}.",
                "Correct the values named.",
            )

    def _whole_number_faults(self) -> Iterator[str]:
        least = {
            "num_train_epochs": 1,
            "per_device_train_batch_size": 1,
            "per_device_eval_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "seed": 0,
            "max_length": _SHORTEST_INPUT,
            "early_stopping_patience": 1,
            "alignment_steps": 1,
            "alignment_samples": 1,
            "projection_dim": 1,
            "max_steps": 1,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if name in _MAY_BE_OFF and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                yield f"{name} must be a whole number of at least {minimum}, not {value!r}"

    def _number_faults(self) -> Iterator[str]:
        for name in ("learning_rate", "weight_decay"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                yield f"{name} must be a number, zero or more, not {getattr(self, name)!r}"
        if not _is_number(self.warmup_ratio) or not 0 <= self.warmup_ratio <= 1:
            yield f"warmup_ratio must lie between 0 and 1, not {self.warmup_ratio!r}"
        if not _is_number(self.label_smoothing_factor) or not 0 <= self.label_smoothing_factor < 1:
            yield f"label_smoothing_factor must lie between 0 and 1, not {self.label_smoothing_factor!r}"
        if self.max_grad_norm is not None and (not _is_number(self.max_grad_norm) or self.max_grad_norm <= 0):
            yield f"max_grad_norm must be above zero or null, not {self.max_grad_norm!r}"

    def _choice_faults(self) -> Iterator[str]:
        if self.optim not in OPTIMIZERS:
            yield f"optim must be one of {', '.join(OPTIMIZERS)}, not {self.optim!r}"
        if self.lr_scheduler_type not in SCHEDULES:
            yield f"lr_scheduler_type must be one of {', '.join(SCHEDULES)}, not {self.lr_scheduler_type!r}"
        if self.bf16 and self.fp16:
            yield "bf16 and fp16 exclude each other"
        if self.loss not in LOSSES:
            yield f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}"
        elif self.loss != CROSS_ENTROPY and self.label_smoothing_factor:
            yield f"label_smoothing_factor is of cross_entropy, not of {self.loss}"
        if self.by_query and self.per_device_train_batch_size == 1:
            yield f"{self.loss} learns from samples of one batch: per_device_train_batch_size must be over 1"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
