"""AdaLoRA (Zhang et al. 2023): adapters that share a budget of ranks, which goes to where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import AdaLoraConfig
from peft.tuners.adalora.layer import RankAllocator
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.encoders.adapters import LoraSettings, put_in

NAME = "default"
TINIT, TFINAL = 0.1, 0.5
"""Shares of the steps before ranks begin to fall, and after they have fallen."""
_MOMENTS = ("ipt", "exp_avg_ipt", "exp_avg_unc")


@dataclass(frozen=True)
class AdaLoraSettings:
    """Names as in peft's AdaLoraConfig: adapters begin with rank `init_r`, and have `target_r` on average in
    the end, below it."""

    target_r: int = 8
    init_r: int = 12
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    orth_reg_weight: float = 0.5
    target_modules: Sequence[str] | None = None

    @classmethod
    def of(
        cls, lora: LoraSettings, *, init_r: int | None = None, orth_reg_weight: float | None = None
    ) -> AdaLoraSettings:
        """With the rank of `lora` as the last one. None: 1.5 times that (Zhang et al.), and peft's 0.5."""
        return cls(
            target_r=lora.r,
            init_r=-(-3 * lora.r // 2) if init_r is None else init_r,
            lora_alpha=lora.lora_alpha,
            lora_dropout=lora.lora_dropout,
            orth_reg_weight=0.5 if orth_reg_weight is None else orth_reg_weight,
            target_modules=lora.target_modules,
        )

    def config(self, total_steps: int) -> AdaLoraConfig:
        return AdaLoraConfig(
            init_r=self.init_r,
            target_r=self.target_r,
            lora_alpha=self.lora_alpha,  # type: ignore[arg-type]
            lora_dropout=self.lora_dropout,
            orth_reg_weight=self.orth_reg_weight,
            tinit=int(TINIT * total_steps),
            tfinal=int(TFINAL * total_steps),
            total_step=total_steps,
            target_modules=None if self.target_modules is None else list(self.target_modules),
        )


def add_adalora(model: PreTrainedModel, settings: AdaLoraSettings, *, seed: int) -> None:
    """As `add_lora`, with adapters that have singular values. How their ranks fall is `RankAllocation`'s."""
    put_in(model, settings.config(total_steps=1_000), seed=seed)


class RankAllocation:
    """Takes ranks away, step by step, from the adapters of one training; part of what a resume needs.

    After each of the `total_steps` steps the importance of every singular value and its vectors is averaged,
    |w · ∂L/∂w| by its uncertainty, and the least important are set to 0, as many as the budget says (peft's
    RankAllocator, a cubic schedule). In the last part of the training the ranks are fixed.
    """

    def __init__(self, model: PreTrainedModel, settings: AdaLoraSettings, total_steps: int) -> None:
        self._model = model
        self._config = settings.config(total_steps)
        untyped: Any = RankAllocator
        self._allocator = untyped(model, self._config, NAME)
        self._pattern: dict[str, list[bool]] | None = None

    def penalty(self) -> Tensor:
        """How far singular vectors are from orthogonal, the mean of ‖PᵀP − I‖ over the matrices, weighted."""
        apart = [_from_identity(p) for p in _vectors(self._model)]
        return self._config.orth_reg_weight * torch.stack(apart).mean()

    def after_step(self, step: int) -> None:
        """To be called while the step's gradients are still there; steps are counted from 1."""
        fixed_at = int(self._config.total_step or 0) - self._config.tfinal
        if step <= fixed_at:
            last = step == fixed_at
            if last:  # the last measurement; peft takes it before that step only
                self._allocator.update_ipt(self._model)
            _, pattern = self._allocator.update_and_allocate(self._model, step, force_mask=last)
            self._pattern = pattern or self._pattern
        elif self._pattern is not None:
            self._allocator.mask_using_rank_pattern(self._model, self._pattern)

    def state_dict(self) -> dict[str, Any]:
        return {"pattern": self._pattern, **{name: dict(getattr(self._allocator, name)) for name in _MOMENTS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._pattern = state["pattern"]
        devices = {name: parameter.device for name, parameter in self._model.named_parameters()}
        for name in _MOMENTS:
            held = {which: value.to(devices[which]) for which, value in state[name].items()}
            setattr(self._allocator, name, held)


def ranks_left(model: nn.Module) -> int:
    """How many singular values of all adapters are not 0."""
    return sum(int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name)


def _vectors(model: nn.Module) -> list[Tensor]:
    """(rank, width) each."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [p for name, p in named if "lora_A" in name] + [p.T for name, p in named if "lora_B" in name]


def _from_identity(vectors: Tensor) -> Tensor:
    apart: Tensor = vectors @ vectors.T - torch.eye(len(vectors), device=vectors.device)
    return apart.square().sum().sqrt()
