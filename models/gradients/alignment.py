"""How each sample's gradient lies to the validation gradient, as the optimiser sees it.

AdamW does not step along the gradient but along ``P g`` with ``P = 1 / (sqrt(v_hat) + eps)``, so a sample
moves the validation loss by ``-lr <P g_i, g_val>``, not by ``-lr <g_i, g_val>``. P is diagonal and belongs to
the step, not to the sample: ``<P g_i, g_val> = <g_i, P g_val>``. One fixed direction ``d = P g_val``
therefore serves the whole batch, and the observer gives ``<g_i, d>`` in the same backward.

Source: LESS (Xia et al., 2024), for the preconditioning; TracIn (Pruthi et al., 2020) and In-Run Data Shapley
(Wang et al., 2024), for the influence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.gradients.errors import ObservationStateError
from models.gradients.result import PerSampleGradients


@dataclass(frozen=True, slots=True)
class Direction:
    """``values``: ``P g_val`` by parameter name; ``norm``: its length over all parameters."""

    values: dict[str, Tensor]
    norm: float

    def alignment(self, gradients: PerSampleGradients) -> Tensor:
        """``(batch,)`` cosine of ``g_i`` with ``P g_val``, in [-1, 1]; zero where either is zero.

        Its sign is that of ``<P g_i, g_val>``. The length divided by is that of ``g_i``, not of ``P g_i``:
        for that every product would have to be formed. NaN for a sample that was not observed.
        """
        lengths = gradients.norms * self.norm
        cosines = torch.where(lengths == 0, torch.zeros_like(lengths), _dots(gradients) / lengths)
        return cosines.clamp(-1.0, 1.0)

    def influence(self, gradients: PerSampleGradients, learning_rate: float) -> Tensor:
        """``(batch,)`` ``lr <P g_i, g_val>``: by how much one step on sample i lowers the validation loss."""
        return learning_rate * _dots(gradients)


def _dots(gradients: PerSampleGradients) -> Tensor:
    if gradients.dots is None:
        raise ObservationStateError("No direction was set before the backward (set_direction).")
    return gradients.dots


def preconditioned(mean_gradient: Mapping[str, Tensor], preconditioner: Mapping[str, Tensor]) -> Direction:
    """``P g_val`` of a validation gradient."""
    values = {name: gradient * preconditioner[name] for name, gradient in mean_gradient.items()}
    squares = torch.stack([value.double().square().sum() for value in values.values()])
    return Direction(values, float(squares.sum().sqrt()))


def adam_preconditioner(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """``1 / (sqrt(v_hat) + eps)`` by name, v_hat the bias-corrected second moment of Adam or AdamW.

    Ones for a parameter that the optimiser has not stepped yet, of which it knows nothing. Zeros for entries
    of a stepped one that no gradient has reached, as the embeddings of words not seen so far: ``1 / eps``
    there would outweigh all the others together, and no Adam step is that long.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        if "exp_avg_sq" not in state:
            found[name] = torch.ones_like(parameter)
            continue
        group = groups[id(parameter)]
        correction = 1.0 - group["betas"][1] ** float(state["step"])
        moments = state["exp_avg_sq"]
        found[name] = (1.0 / ((moments / correction).sqrt() + group["eps"])).masked_fill_(moments == 0, 0.0)
    return found


def mean_gradient(losses: Iterable[Tensor], parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Mean over samples of their losses' gradients; ``.grad`` is not touched.

    losses: the unreduced losses of one batch after the other, ``(batch,)`` each; a generator, so that one
    graph is alive at a time. Take it within ``observer.paused()`` where an observer is installed.
    """
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    samples = 0
    for batch in losses:
        found = torch.autograd.grad(batch.sum(), list(parameters.values()), materialize_grads=True)
        torch._foreach_add_(list(totals.values()), found)
        samples += len(batch)
    if samples == 0:
        raise ObservationStateError("The validation split is empty: there is no gradient to align with.")
    return {name: total / samples for name, total in totals.items()}
