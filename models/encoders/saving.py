"""A trained classifier as files that transformers alone can load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from models.encoders.failures import quiet_transformers
from models.encoders.loading import LoadedClassifier


def save_classifier(
    classifier: LoadedClassifier, folder: Path, *, labels: Sequence[str], max_length: int
) -> None:
    """Writes weights (safetensors), config and tokenizer; adapters are merged into the weights, in place.

    labels: names of the classes, in order. max_length: tokens that the model was trained on, at which its
    tokenizer cuts from then on.
    """
    model = classifier.model
    merge_adapters(model)
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    tokenizer = classifier.tokenizer
    cut_at, tokenizer.model_max_length = tokenizer.model_max_length, max_length
    try:
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    finally:
        tokenizer.model_max_length = cut_at


def merge_adapters(model: PreTrainedModel) -> None:
    """Adds what adapters have learned to the weights beside them, and takes the adapters out."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, module.get_base_layer())
