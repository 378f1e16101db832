"""What can go wrong while loading, in words; and quiet while it goes right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from models.errors import ModelError

LOAD_FAILURES = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no loading report, for as long as it lasts."""
    verbosity = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def named_failures(source: str) -> Iterator[None]:
    """Turn what transformers and safetensors raise into ModelErrors about `source`."""
    try:
        yield
    except LOAD_FAILURES as error:
        raise _as_model_error(source, error) from error


def _as_model_error(source: str, error: Exception) -> ModelError:
    cause = " ".join(str(error).split())[:300]
    folder = Path(source)
    if not folder.is_dir() and isinstance(error, OSError):
        return ModelError(
            "model_not_found",
            f"There is no model {source!r}: neither a folder nor a hub model that can be read here.",
            "Give an existing folder, or the name of a hub model that is cached or may be downloaded.",
        )
    if "trust_remote_code" in str(error):
        return ModelError(
            "model_needs_remote_code",
            f"The model {source!r} can only be loaded by running code that comes with it.",
            "Choose a model whose architecture the transformers library knows.",
        )
    if isinstance(error, OSError) and "safetensors" in cause:
        return ModelError(
            "model_not_safetensors",
            f"The model {source!r} has no weights stored as safetensors.",
            "Save it again with save_pretrained, which writes model.safetensors.",
        )
    return ModelError(
        "model_load_failed",
        f"The model {source!r} cannot be loaded as a sequence classifier: {cause}",
        "Check its config.json and weights, and that it is a text model.",
    )


def no_tokenizer(source: str) -> ModelError:
    return ModelError(
        "no_tokenizer",
        f"There is no usable tokenizer beside the model {source!r}.",
        "Save the tokenizer into the model's folder with tokenizer.save_pretrained.",
    )
