"""Changes to a model's config that a user may ask for, such as fewer layers or no dropout."""

from __future__ import annotations

from collections.abc import Mapping

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from models.errors import ModelError

# What decides which code runs, which files are read, what the head means or how batches are padded.
_FORBIDDEN = frozenset(
    {
        "architectures",
        "attn_implementation",
        "auto_map",
        "bos_token_id",
        "custom_pipelines",
        "dtype",
        "eos_token_id",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "name_or_path",
        "num_labels",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "problem_type",
        "quantization_config",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "use_return_dict",
        "vocab_size",
    }
)
_SCALARS = (bool, int, float, str)
_MISSING = object()


def apply_config_overrides(config: PreTrainedConfig, overrides: Mapping[str, object]) -> None:
    """Set `overrides` on `config`; raises one ModelError `invalid_model_config` that names all faults.

    Only attributes that the config already has may be set, to a number, string or boolean of the kind
    that is there (an attribute that is None takes any); numbers must not be negative.
    """
    faults = [fault for name, value in overrides.items() if (fault := _fault(config, name, value))]
    if not faults:
        for name, value in overrides.items():
            try:
                setattr(config, name, value)
            except StrictDataclassError:
                faults.append(f"{name!r} cannot be {value!r}")
    if faults:
        raise invalid_model_config("; ".join(faults) + ".")


def invalid_model_config(detail: str) -> ModelError:
    return ModelError(
        "invalid_model_config",
        f"The model_config does not fit this model: {detail}",
        "Use names and values that the model's config.json knows, and no larger sizes than its weights have.",
    )


def _fault(config: PreTrainedConfig, name: str, value: object) -> str | None:
    if name in _FORBIDDEN or name.startswith("_"):
        return f"{name!r} may not be changed"
    current = getattr(config, name, _MISSING)
    if current is _MISSING or callable(current) or isinstance(getattr(type(config), name, None), property):
        return f"a {config.model_type} config has no {name!r}"
    if not isinstance(value, _SCALARS) or not _same_kind(current, value):
        return f"{name!r} is {current!r} and cannot become {value!r}"
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        return f"{name!r} must be a finite number, zero or more, not {value!r}"
    return None


def _same_kind(current: object, value: object) -> bool:
    if current is None:
        return True
    if isinstance(current, bool) or isinstance(value, bool):
        return isinstance(current, bool) and isinstance(value, bool)
    if isinstance(current, int | float):
        return isinstance(value, int | float)
    return isinstance(current, str) and isinstance(value, str)
