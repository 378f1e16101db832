"""Where to compute, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.errors import ModelError
from models.training.config import TrainingConfig

_FIRST_SCALE = 2.0**16
_SMALLEST_SCALE = 2.0**-14
_GROWTH_INTERVAL = 2000


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_dtype(config: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """The type for autocast, None for float32. Raises ModelError `precision_unavailable`."""
    if not (config.bf16 or config.fp16):
        return None
    name = "bf16" if config.bf16 else "fp16"
    on_gpu = device.type == "cuda"
    if not on_gpu or (config.bf16 and not torch.cuda.is_bf16_supported(including_emulation=False)):
        raise ModelError(
            "precision_unavailable",
            f"{name} is not available on this device ({device.type}).",
            f"Leave {name} out, or run where a GPU supports it.",
        )
    return torch.bfloat16 if config.bf16 else torch.float16


@dataclass
class LossScale:
    """The factor that lifts float16 gradients above underflow (Micikevicius et al. 2018).

    Unlike torch's GradScaler, a step that overflows is not skipped, because its visits would be lost:
    `shrink` halves the factor and the step is computed again. `grow` counts the good steps and doubles
    the factor after 2000 of them. Without float16 the factor stays 1.
    """

    enabled: bool
    factor: float = 1.0
    good_steps: int = 0

    @classmethod
    def for_dtype(cls, dtype: torch.dtype | None) -> LossScale:
        enabled = dtype == torch.float16
        return cls(enabled, _FIRST_SCALE if enabled else 1.0)

    def shrink(self) -> bool:
        """Halve the factor; False where that can no longer help."""
        self.good_steps = 0
        if not self.enabled or self.factor <= _SMALLEST_SCALE:
            return False
        self.factor /= 2.0
        return True

    def grow(self) -> None:
        """Note a good step."""
        if not self.enabled:
            return
        self.good_steps += 1
        if self.good_steps >= _GROWTH_INTERVAL:
            self.good_steps = 0
            self.factor *= 2.0

    def state_dict(self) -> dict[str, float | int]:
        return {"factor": self.factor, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        self.factor = float(state["factor"])
        self.good_steps = int(state["good_steps"])
