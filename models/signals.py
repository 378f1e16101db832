"""What is recorded of a sample each time the model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.encoders.head import HeadTensors, HeadViews


@dataclass(frozen=True)
class FreeSignals:
    """Signals that a forward pass gives for nothing; tensors on the model's device, each (batch,).

    All but `correct` are float32. No gradient flows through them.
    """

    loss: torch.Tensor
    el2n: torch.Tensor
    margin: torch.Tensor
    confidence: torch.Tensor
    correct: torch.Tensor


@dataclass(frozen=True)
class VisitSignals:
    """The signals of one visit of each of `len(positions)` samples; numpy arrays, each (visits,).

    positions: int64, indices into the training arrays. grad_norm: float64, the L2 norm of the
    gradient of the sample's own loss over all trainable parameters (GraNd, Paul et al. 2021), from
    which the importance S_i is averaged. loss, el2n, margin, confidence: float32. correct: bool.
    alignment: float32, the cosine of the sample's gradient with the validation direction (LESS, Xia et
    al. 2024; `models.gradients.alignment`), NaN where no direction is taken. projection: float32
    (visits, dim), the gradient under a seeded random map (`models.gradients.projection`), or None. views:
    what the last layer read and said, or None.
    """

    positions: NDArray[np.int64]
    grad_norm: NDArray[np.float64]
    loss: NDArray[np.float32]
    el2n: NDArray[np.float32]
    margin: NDArray[np.float32]
    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]
    alignment: NDArray[np.float32]
    projection: NDArray[np.float32] | None = None
    views: HeadViews | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, chosen: NDArray[np.bool_]) -> VisitSignals:
        """Of the visits where `chosen` (visits,) holds."""
        return VisitSignals(
            positions=self.positions[chosen],
            grad_norm=self.grad_norm[chosen],
            loss=self.loss[chosen],
            el2n=self.el2n[chosen],
            margin=self.margin[chosen],
            confidence=self.confidence[chosen],
            correct=self.correct[chosen],
            alignment=self.alignment[chosen],
            projection=None if self.projection is None else self.projection[chosen],
            views=None if self.views is None else self.views.take(chosen),
        )

    @classmethod
    def collect(
        cls,
        positions: Sequence[NDArray[np.int64]],
        grad_norms: Sequence[torch.Tensor],
        free: Sequence[FreeSignals],
        alignments: Sequence[torch.Tensor] = (),
        projections: Sequence[torch.Tensor] = (),
        views: Sequence[HeadTensors] = (),
    ) -> VisitSignals:
        """Join the micro-batches of a step; the device is waited for once a signal, not once a batch."""

        def joined(name: str) -> NDArray[np.float32]:
            return np.asarray(torch.cat([getattr(part, name) for part in free]).cpu().numpy())

        visited = np.concatenate(positions)
        aligned = torch.cat(list(alignments)).float().cpu().numpy() if alignments else None
        projected = torch.cat(list(projections)).float().cpu().numpy() if projections else None
        return cls(
            positions=visited,
            grad_norm=torch.cat([norms.detach().double() for norms in grad_norms]).cpu().numpy(),
            loss=joined("loss"),
            el2n=joined("el2n"),
            margin=joined("margin"),
            confidence=joined("confidence"),
            correct=joined("correct").astype(np.bool_),
            alignment=np.full(len(visited), np.nan, dtype=np.float32) if aligned is None else aligned,
            projection=projected,
            views=HeadViews.joined(views) if views else None,
        )


def free_signals(logits: torch.Tensor, labels: torch.Tensor) -> FreeSignals:
    """Signals of the forward pass. logits z: (batch, classes), labels y: (batch,) int64, classes ≥ 2.

    With p = softmax(z), computed in float32 whatever the model's precision:

    - loss        −log p_y
    - confidence  p_y (dataset cartography, Swayamdipta et al. 2020)
    - EL2N        ‖p − e_y‖₂, from 0 to √2 (Paul et al. 2021)
    - margin      z_y − max_{j≠y} z_j (area under the margin, Pleiss et al. 2020)
    - correct     argmax z = y; equal logits count for the lower class index

    Raises ValueError for fewer than two classes: the margin would have no second class.
    """
    if logits.shape[1] < 2:
        raise ValueError(f"a margin needs two classes, the logits have {logits.shape[1]}")
    logits = logits.detach().float()
    own = labels.unsqueeze(1)
    log_probabilities = functional.log_softmax(logits, dim=1)
    own_log_probability = log_probabilities.gather(1, own).squeeze(1)
    residual = log_probabilities.exp().scatter_add(1, own, torch.full_like(logits[:, :1], -1.0))
    rival = logits.scatter(1, own, float("-inf")).amax(dim=1)
    return FreeSignals(
        loss=-own_log_probability,
        el2n=torch.linalg.vector_norm(residual, dim=1),
        margin=logits.gather(1, own).squeeze(1) - rival,
        confidence=own_log_probability.exp(),
        correct=logits.argmax(dim=1) == labels,
    )
