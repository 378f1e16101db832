"""Loading a sequence classifier and its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from models.encoders.adaptive_ranks import AdaLoraSettings
from models.encoders.failures import LOAD_FAILURES, named_failures, no_tokenizer, quiet_transformers
from models.encoders.folders import check_folder
from models.encoders.overrides import apply_config_overrides, invalid_model_config
from models.encoders.revision import folder_revision
from models.errors import ModelError

_NO_OVERRIDES: Mapping[str, object] = MappingProxyType({})
# A tokenizer that knows no limit says 10^30.
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 on the CPU, its tokenizer, and which one it is.

    revision: 16 hex digits over the files of a folder, or the commit hash of a hub model. adaptive: how the
    ranks of its adapters are to fall in training, where they are.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str
    adaptive: AdaLoraSettings | None = field(default=None, kw_only=True)

    @property
    def token_limit(self) -> int | None:
        """The longest input the model and tokenizer can take, or None where neither sets one."""
        limits = [int(self.tokenizer.model_max_length)]
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            limits.append(positions - _reserved_positions(self.model))
        shortest = min(limits)
        return shortest if shortest < _NO_LIMIT else None

    def clamp_length(self, max_length: int) -> int:
        """`max_length`, or less where the model cannot read that much."""
        limit = self.token_limit
        return max_length if limit is None else min(max_length, limit)


@dataclass(frozen=True)
class LoadedClassifier(LoadedModel):
    """One of sequences."""


def load_classifier(
    source: str,
    *,
    num_labels: int,
    seed: int,
    revision: str | None = None,
    config_overrides: Mapping[str, object] = _NO_OVERRIDES,
    local_files_only: bool = True,
    max_bytes: int | None = None,
) -> LoadedClassifier:
    """Load `source`, a folder or a hub name, as a classifier of `num_labels` classes.

    Reads safetensors only and never runs code from the model. A classification head of the right size
    is kept; otherwise a new one is drawn from `seed`, which leaves the global random state alone.
    Weights that the config asks for and the files do not hold (more layers than there are, other
    sizes) are refused rather than drawn at random; only the head and a missing pooler may be new.
    A folder is looked at before anything of it is loaded (`check_folder`), with `max_bytes` as its bound.
    Nothing is printed. Raises ModelError.
    """
    if num_labels < 2:
        raise ModelError(
            "too_few_classes",
            f"A classifier needs at least two classes, there is {num_labels}.",
            "Send samples of at least two different labels.",
        )
    with quiet_transformers(), named_failures(source):
        check_source(source, max_bytes)
        config, shared = read_config(source, revision, config_overrides, local_files_only)
        if config.num_labels != num_labels:
            config.num_labels = num_labels
        config.problem_type = "single_label_classification"
        model, info = read_weights(AutoModelForSequenceClassification, source, config, seed, shared)
        require_complete(model, info, overridden=bool(config_overrides))
        tokenizer = load_tokenizer(source, model, shared)
    return LoadedClassifier(model, tokenizer, revision_of(source, shared))


def check_source(source: str, max_bytes: int | None) -> None:
    """Raises ModelError. Of a name at the hub nothing is known yet."""
    if Path(source).is_dir():
        check_folder(Path(source), max_bytes)


def trainable_signature(model: torch.nn.Module) -> str:
    """16 hex digits over names and shapes of the trainable parameters, in order of their names."""
    lines = sorted(f"{n}:{tuple(p.shape)}" for n, p in model.named_parameters() if p.requires_grad)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def read_config(
    source: str, revision: str | None, overrides: Mapping[str, object], local_files_only: bool
) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """The config with its overrides, and how everything else of the same revision is read."""
    config = AutoConfig.from_pretrained(
        source, revision=revision or "main", local_files_only=local_files_only, trust_remote_code=False
    )
    apply_config_overrides(config, overrides)
    commit = getattr(config, "_commit_hash", None) or revision or "main"
    return config, {"revision": commit, "local_files_only": local_files_only, "trust_remote_code": False}


def revision_of(source: str, shared: Mapping[str, Any]) -> str:
    folder = Path(source)
    return folder_revision(folder) if folder.is_dir() else str(shared["revision"])


def read_weights(
    kind: Any, source: str, config: PreTrainedConfig, seed: int, shared: Mapping[str, Any]
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """A model of this kind (an Auto class of transformers); what the files do not hold is drawn by seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, info = kind.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **shared,
        )
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
    return model, info


def require_complete(model: PreTrainedModel, info: Mapping[str, Any], *, overridden: bool) -> None:
    """Refuse weights of the encoder itself that were drawn at random instead of read."""
    mismatched = {str(key[0]) for key in info["mismatched_keys"]}
    absent = {str(key) for key in info["missing_keys"] if "pooler" not in str(key)}
    encoder = f"{model.base_model_prefix}."
    faulty = sorted(name for name in mismatched | absent if name.startswith(encoder))
    if not faulty:
        return
    detail = f"{len(faulty)} weights are missing in its files or of another shape, such as {faulty[0]}."
    if overridden:
        raise invalid_model_config(detail)
    raise ModelError(
        "model_load_failed",
        f"The model's weights do not fit its config.json: {detail}",
        "Save the model again with save_pretrained.",
    )


def load_tokenizer(source: str, model: PreTrainedModel, shared: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer, with a padding token on both sides of the interface.

    transformers makes a tokenizer of special tokens only where the vocabulary is missing: that one
    would read every text as unknown, so it is refused.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **shared)
    except LOAD_FAILURES as error:
        raise no_tokenizer(source) from error
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise no_tokenizer(source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token_id is None:
        raise no_tokenizer(source)
    if not isinstance(model.config.pad_token_id, int):
        model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def _reserved_positions(model: PreTrainedModel) -> int:
    """RoBERTa and its kin number positions from padding_idx + 1 and lose those before."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
