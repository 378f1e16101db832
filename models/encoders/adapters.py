"""Low-rank adapters (LoRA, Hu et al. 2021): a large model is scored by the few parameters that train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftConfig, inject_adapter_in_model
from torch import nn
from transformers import PreTrainedModel

from models.errors import ModelError


@dataclass(frozen=True)
class LoraSettings:
    """Names as in peft's LoraConfig. target_modules None: peft's choice for the architecture."""

    r: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    target_modules: Sequence[str] | None = None


def add_lora(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> None:
    """Freeze the encoder, in place, and put adapters drawn from `seed` beside its projections.

    What trains, and so what gradient norms cover, are the adapters and the classification head, whose
    weights are new. Raises ModelError `invalid_peft` where no module fits.
    """
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        target_modules=None if settings.target_modules is None else list(settings.target_modules),
    )
    put_in(model, config, seed=seed)


def put_in(model: PreTrainedModel, config: PeftConfig, *, seed: int) -> None:
    """Adapters of any kind that stand beside the model's own modules. Raises ModelError `invalid_peft`."""
    for parameter in model.base_model.parameters():
        parameter.requires_grad = False
    head = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model)
    except (ValueError, TypeError) as error:
        raise ModelError(
            "invalid_peft",
            f"The adapters do not fit this model: {error}.",
            "Name target_modules by the ends of the model's Linear module names, such as query and value.",
        ) from error
    _train_again(model, head)


def adapter_values(model: nn.Module) -> int:
    """How many numbers the adapters hold; 0 for a model without."""
    return sum(p.numel() for name, p in model.named_parameters() if "lora_" in name and p.requires_grad)


def _train_again(model: nn.Module, names: Sequence[str]) -> None:
    """Injection freezes everything but the adapters; the head is to train all the same."""
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.requires_grad = True
