"""What must hold before a run starts or resumes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch
from transformers import PreTrainedModel

from models.batching import LabelledTexts
from models.encoders import trainable_signature
from models.errors import ModelError
from models.signals import VisitSignals
from models.training.config import TrainingConfig


def require_trainable_data(
    model: PreTrainedModel, train: LabelledTexts, validation: LabelledTexts | None, config: TrainingConfig
) -> None:
    """Raise ModelError unless the splits can train and evaluate this model."""
    if len(train) == 0:
        raise ModelError("empty_split", "There is no training sample.", "Send samples of split train.")
    if len(np.unique(train.labels)) < 2:
        raise ModelError(
            "too_few_classes",
            "All training samples have the same label.",
            "Send training samples of at least two different labels.",
        )
    if config.early_stopping_patience is not None and (validation is None or len(validation) == 0):
        raise ModelError(
            "no_validation",
            "Early stopping needs a validation split, and there is none.",
            "Send validation samples, have some held out by validation_fraction, "
            "or leave early_stopping_patience out.",
        )
    for data in (train, validation):
        if data is not None and len(data) > 0:
            _require_known_indices(model, data)


def _require_known_indices(model: PreTrainedModel, data: LabelledTexts) -> None:
    classes = model.config.num_labels or 0
    unknown = np.flatnonzero((data.labels < 0) | (data.labels >= classes))
    if len(unknown):
        raise ModelError(
            "label_out_of_range",
            f"{len(unknown)} labels are not class indices from 0 to {classes - 1}.",
            "Load the classifier with as many classes as there are labels.",
            positions=unknown.tolist(),
        )
    require_known_tokens(model, int(data.tokens.ids.max()) + 1)


def require_known_tokens(model: PreTrainedModel, tokens: int) -> None:
    """Raise ModelError `tokenizer_mismatch` unless the model has embeddings for so many."""
    table = model.get_input_embeddings()
    if isinstance(table, torch.nn.Embedding) and tokens > table.num_embeddings:
        raise ModelError(
            "tokenizer_mismatch",
            f"The tokenizer gives token ids that the model's {table.num_embeddings} embeddings do not have.",
            "Use the tokenizer that belongs to the model.",
        )


def require_finite(signals: VisitSignals) -> None:
    """Raise ModelError `non_finite_score` with the positions whose loss or norm is not a number."""
    broken = signals.positions[~(np.isfinite(signals.loss) & np.isfinite(signals.grad_norm))]
    if len(broken):
        raise ModelError(
            "non_finite_score",
            f"The loss or gradient of {len(broken)} samples is infinite or not a number.",
            "Lower the learning rate, or look whether the training diverged before these samples.",
            positions=broken.tolist(),
        )


def run_identity(
    model: PreTrainedModel, train: LabelledTexts, validation: LabelledTexts | None, config: TrainingConfig
) -> dict[str, str]:
    """Hashes of everything that a checkpoint presupposes, by name."""
    settings = repr(sorted(asdict(config).items())).encode()
    return {
        "parameters": trainable_signature(model),
        "config": hashlib.sha256(settings).hexdigest(),
        "train": _data_hash(train),
        "validation": "" if validation is None else _data_hash(validation),
    }


def require_same_run(here: Mapping[str, str], checkpoint: Mapping[str, str]) -> None:
    """Raise ModelError `checkpoint_mismatch` where a checkpoint is not one of this run."""
    differing = sorted(name for name in here if here[name] != checkpoint.get(name))
    if differing:
        raise ModelError(
            "checkpoint_mismatch",
            f"The checkpoint belongs to a run with other {', '.join(differing)}.",
            "Resume with the same model, data and parameters, or start anew.",
        )


def _data_hash(data: LabelledTexts) -> str:
    digest = hashlib.sha256()
    for array in (data.tokens.ids, data.tokens.offsets, data.tokens.type_ids, data.labels, data.queries):
        digest.update(b"|" if array is None else np.ascontiguousarray(array).tobytes() + b"|")
    return digest.hexdigest()
