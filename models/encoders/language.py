"""The language model that a classifier's encoder comes from, to be trained further on a domain's texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from models.encoders.failures import named_failures, quiet_transformers
from models.encoders.loading import (
    LoadedModel,
    check_source,
    load_tokenizer,
    read_config,
    read_weights,
    require_complete,
    revision_of,
)
from models.errors import ModelError

EncoderState = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LoadedLanguageModel(LoadedModel):
    """masked: it fills in masked tokens (BERT and its kin), else it says the next one (GPT). fresh_head: the
    files hold no whole language-model head, so that one was drawn."""

    masked: bool = True
    fresh_head: bool = False


def load_language_model(
    source: str,
    *,
    seed: int,
    config_overrides: Mapping[str, object],
    revision: str | None = None,
    local_files_only: bool = True,
    max_bytes: int | None = None,
) -> LoadedLanguageModel:
    """Load `source` as a masked language model where its architecture is one, else as a causal one.

    As `load_classifier` does, with the same errors; `no_language_model` where the architecture is neither,
    where its language model has another encoder than its classifier, or is a causal one that sees ahead.
    """
    with quiet_transformers(), named_failures(source):
        check_source(source, max_bytes)
        config, shared = read_config(source, revision, config_overrides, local_files_only)
        masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING
        if config.is_encoder_decoder or not (masked or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING):
            raise _no_language_model(source, f"transformers has no language model for {config.model_type}")
        kind = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        model, info = read_weights(kind, source, config, seed, shared)
        require_complete(model, info, overridden=bool(config_overrides))
        _require_the_classifiers_encoder(source, model, config)
        tokenizer = load_tokenizer(source, model, shared)
    if masked and tokenizer.mask_token is None:
        raise _no_language_model(source, "its tokenizer has no mask token")
    if not masked and _sees_ahead(model):
        raise _no_language_model(source, "it sees the tokens that it is to say")
    encoder = f"{model.base_model_prefix}."
    drawn = [*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])]
    fresh = any(not str(name).startswith(encoder) for name in drawn)
    return LoadedLanguageModel(model, tokenizer, revision_of(source, shared), masked, fresh)


def encoder_state(model: PreTrainedModel) -> EncoderState:
    """The weights that a language model and a classifier of one architecture share, on the CPU."""
    state = model.base_model.state_dict()
    return {name: value.detach().cpu() for name, value in state.items() if not _of_pooler(name)}


def adopt_encoder(model: PreTrainedModel, state: EncoderState) -> None:
    """Puts `encoder_state` of a language model into a classifier without adapters; its pooler stays."""
    faults = model.base_model.load_state_dict(state, strict=False)
    wrong = [*faults.unexpected_keys, *(name for name in faults.missing_keys if not _of_pooler(name))]
    if wrong:
        raise ValueError(f"not the encoder of this classifier: {wrong[0]}")


def _require_the_classifiers_encoder(source: str, model: PreTrainedModel, config: PreTrainedConfig) -> None:
    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config)
    theirs, ours = (
        {name: value.shape for name, value in one.base_model.state_dict().items() if not _of_pooler(name)}
        for one in (classifier, model)
    )
    if theirs != ours:
        raise _no_language_model(source, "its language model has another encoder than its classifier")


@torch.no_grad()
def _sees_ahead(model: PreTrainedModel) -> bool:
    """Whether a token changes what is said before it, as in XLNet without a permutation."""
    ids = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 2]])
    said = model(input_ids=ids).logits[:, :-1]
    return not torch.allclose(said[0], said[1], atol=1e-4)


def _of_pooler(name: str) -> bool:
    return name.startswith("pooler.")


def _no_language_model(source: str, cause: str) -> ModelError:
    return ModelError(
        "no_language_model",
        f"The model {source!r} cannot be pre-trained on texts: {cause}.",
        "Leave domain_pretraining out, or choose a model of the BERT or GPT kind.",
    )
