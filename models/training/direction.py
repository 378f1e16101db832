"""The direction that training is to go: the validation gradient, as the optimiser would step along it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from models.batching import Collator, LabelledTexts
from models.gradients import (
    Direction,
    GradientObserver,
    PerSampleGradients,
    adam_preconditioner,
    mean_gradient,
    preconditioned,
)
from models.memory import halving

BATCH = 16


class ValidationDirection:
    """P g_val of a sample of the validation split, taken anew every `refresh_steps` steps.

    Dropout is off and the arithmetic float32, whatever the training does. Which validation samples are
    taken follows from the seed and the step, so a resumed run takes the same ones; between two refreshes
    the direction itself is part of the run's state.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        validation: LabelledTexts,
        *,
        refresh_steps: int,
        samples: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._validation = validation
        self._refresh_steps = refresh_steps
        self._samples = samples
        self._seed = seed
        self._device = device
        self._collator = Collator.for_model(model)
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._direction: Direction | None = None
        self._batch = BATCH

    def guide(self, observer: GradientObserver, step: int) -> None:
        """Let the observer measure along the direction; take it anew where it is due."""
        if self._direction is None or step % self._refresh_steps == 0:
            with observer.paused():
                direction, self._batch = halving(lambda size: self._take(step, size), self._batch)
            self._direction = direction
        observer.set_direction(self._direction.values)

    def alignment(self, gradients: PerSampleGradients) -> torch.Tensor:
        """(batch,) cosine of g_i with the direction, in [-1, 1]."""
        if self._direction is None:
            raise RuntimeError("guide() comes before alignment()")
        return self._direction.alignment(gradients)

    def state_dict(self) -> dict[str, Any]:
        if self._direction is None:
            return {}
        return {"values": self._direction.values, "norm": self._direction.norm}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._direction = None
        if state:
            values = {name: value.to(self._device) for name, value in state["values"].items()}
            self._direction = Direction(values, float(state["norm"]))

    def _take(self, step: int, size: int) -> Direction:
        """From so many samples at a time."""
        draw = np.random.default_rng((self._seed, step))
        count = min(self._samples, len(self._validation))
        chosen = np.sort(draw.choice(len(self._validation), count, replace=False))
        was_training = self._model.training
        self._model.eval()
        try:
            losses = (self._losses(chosen[at : at + size]) for at in range(0, count, size))
            gradient = mean_gradient(losses, self._parameters)
        finally:
            self._model.train(was_training)
        return preconditioned(gradient, adam_preconditioner(self._optimizer, self._parameters))

    def _losses(self, batch: np.ndarray[Any, np.dtype[np.int64]]) -> torch.Tensor:
        """Unreduced losses of validation samples, (batch,)."""
        inputs = self._collator.collate(self._validation.tokens, batch, self._device)
        labels = torch.from_numpy(self._validation.labels[batch]).to(self._device)
        return functional.cross_entropy(self._model(**inputs).logits.float(), labels, reduction="none")
