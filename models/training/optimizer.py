"""The optimiser and its learning rate, as Hugging Face's Trainer sets them up."""

from __future__ import annotations

import math
import re

import torch
from torch import nn
from transformers.optimization import Adafactor

from models.training.config import TrainingConfig

_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (β = 0.9, 0.999; ε = 1e-8) or Adafactor, decay sparing biases and norms.

    AdamW is fused: on a CPU the update of a large embedding takes a fifth of the time. Adafactor (Shazeer and
    Stern 2018) takes the learning rate as it is given, without scaling by the parameters' size.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decayed = decayed_parameter_names(model)
    groups = [
        {"params": [p for n, p in trainable.items() if n in decayed], "weight_decay": config.weight_decay},
        {"params": [p for n, p in trainable.items() if n not in decayed], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    if config.optim == "adafactor":
        return Adafactor(used, lr=config.learning_rate, scale_parameter=False, relative_step=False)
    return torch.optim.AdamW(used, lr=config.learning_rate, fused=True)


def decayed_parameter_names(model: nn.Module) -> set[str]:
    """Trainable parameters that weight decay applies to: no bias, nothing of a normalisation layer."""
    norms = tuple(name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm))
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and not _NO_DECAY.search(name.lower())
        and name.rpartition(".")[0] not in norms
    }


def learning_rate_at(step: int, total_steps: int, config: TrainingConfig) -> float:
    """The learning rate of the `step`-th optimiser step, counted from 0.

    A function of the step alone, so that resuming needs no scheduler state. The warm-up takes
    ceil(warmup_ratio · total_steps) steps and rises from 0; `constant` has none. Equal to
    transformers.get_scheduler.
    """
    peak = config.learning_rate
    if config.lr_scheduler_type == "constant":
        return peak
    warmup = math.ceil(config.warmup_ratio * total_steps)
    if step < warmup:
        return peak * step / warmup
    if config.lr_scheduler_type == "constant_with_warmup":
        return peak
    done = (step - warmup) / max(1, total_steps - warmup)
    if config.lr_scheduler_type == "cosine":
        return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return peak * max(0.0, 1.0 - done)
