"""A training run for the model's sake alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.batching import LabelledTexts
from models.encoders import LoadedModel
from models.encoders.adaptive_ranks import RankAllocation
from models.errors import ModelError
from models.losses import CROSS_ENTROPY, GradedLoss
from models.losses.graded import require_order
from models.memory import MicroBatch
from models.training.config import TrainingConfig
from models.training.loop import Batches, StepResult, TrainingRun
from models.training.randomness import seeded_randomness


@dataclass(frozen=True)
class Losses:
    """of: (samples,) at these positions, as they trained. finite: that the gradient is."""

    positions: NDArray[np.int64]
    of: NDArray[np.float32]
    finite: bool

    def __len__(self) -> int:
        return len(self.of)


class FittingRun(TrainingRun[Losses]):
    """Fine-tunes a classifier without a look at single samples, as the same batches and steps do.

    With `load_best_model_at_end` the model ends as it was after the epoch with the lowest validation loss.
    grades: the classes' values; a loss other than cross-entropy needs them. Raises ModelError
    `loss_needs_grades`, and `nothing_to_rank` for a loss by query without a query of two grades.
    """

    _best: dict[str, torch.Tensor] | None = None
    _ranks: RankAllocation | None = None

    def __init__(
        self,
        classifier: LoadedModel,
        train: LabelledTexts,
        validation: LabelledTexts | None,
        config: TrainingConfig,
        device: torch.device,
        *,
        grades: Sequence[float] = (),
        micro_batch: MicroBatch | None = None,
    ) -> None:
        require_order(config.loss, train.labels, train.queries)
        if config.loss != CROSS_ENTROPY:
            self._graded = GradedLoss(config.loss, grades)
        super().__init__(classifier, train, validation, config, device, micro_batch)
        if self._graded is not None:
            self._identity["grades"] = repr(self._graded.grades)
        if classifier.adaptive is not None:
            self._ranks = RankAllocation(self._model, classifier.adaptive, self.total_steps)
            self._identity["ranks"] = repr(classifier.adaptive)

    def state_dict(self) -> dict[str, Any]:
        ranks = None if self._ranks is None else self._ranks.state_dict()
        return super().state_dict() | {"best": self._best, "ranks": ranks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._best = state["best"]
        if self._ranks is not None:
            self._ranks.load_state_dict(state["ranks"])

    def stop(self) -> None:
        """Ends the run here: with the best model so far, where that is asked for and an epoch has ended."""
        if self._config.load_best_model_at_end and self._best is not None:
            self._model.load_state_dict(self._best)

    def _accumulate(self, data: LabelledTexts, micro_batches: Batches, step: int) -> Losses:
        weight = self._loss_scale.factor / sum(len(batch) for batch in micro_batches)
        self._optimizer.zero_grad(set_to_none=True)
        found: list[torch.Tensor] = []
        for place, batch in enumerate(micro_batches):
            with seeded_randomness(self._device, self._config.seed, step, place):
                losses = self._batch_losses(data, batch)
                (losses * weight).sum().backward()
            found.append(losses.detach())
        if self._ranks is not None:
            (self._ranks.penalty() * self._loss_scale.factor).backward()
        gradients = [p.grad for p in self._model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        of = torch.cat(found).cpu().numpy()
        return Losses(np.concatenate(micro_batches), of, bool(torch.isfinite(norm)))

    def _batch_losses(self, data: LabelledTexts, batch: NDArray[np.int64]) -> torch.Tensor:
        """(batch,) in float32, whose mean over the step is what trains."""
        return self._forward(data, batch)[1]

    def _update(self, learning_rate: float) -> None:
        super()._update(learning_rate)
        if self._ranks is not None:
            self._ranks.after_step(self._step + 1)

    def _losses(self, signals: Losses) -> NDArray[np.float32]:
        return signals.of

    def _overflowed(self, signals: Losses) -> bool:
        return not signals.finite

    def _require_finite(self, signals: Losses) -> None:
        if signals.finite and np.isfinite(signals.of).all():
            return
        broken = signals.positions[~np.isfinite(signals.of)]
        raise ModelError(
            "non_finite_score",
            f"The loss of {len(broken)} samples, or the gradient, is infinite or not a number.",
            "Lower the learning rate, or look whether the training diverged before these samples.",
            positions=broken.tolist(),
        )

    def _close_epoch(self, result: StepResult[Losses]) -> StepResult[Losses]:
        best_before = self._stopping.best_loss
        closed = super()._close_epoch(result)
        if self._config.load_best_model_at_end and closed.epoch_metrics is not None:
            if self._stopping.best_loss < best_before:
                self._best = {name: one.clone() for name, one in self._model.state_dict().items()}
            if self.finished:
                self.stop()
        return closed
