"""Which tokens of a text made a classifier say what it says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.errors import ModelError

STEPS = 50
STEPS_AT_A_TIME = 10


@dataclass(frozen=True)
class Attribution:
    """tokens: in order, without special ones: text, first and last + 1 character, whether of the second text,
    and what the token adds to the logit of class `target`. error: by how much all values together, special
    tokens included, miss the difference that they are to add up to."""

    target: int
    tokens: list[tuple[str, int, int, bool, float]]
    error: float


def attribute(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    pair: str | None,
    *,
    max_length: int,
    target: int,
    on_steps: Callable[[], object] | None = None,
) -> Attribution:
    """Integrated gradients (Sundararajan et al. 2017) of the logit of class `target` over the word
    embeddings, by Captum, from a baseline whose tokens are all padding, special ones apart. The values add up
    to the difference of the logit to the baseline's, but for the error of the sum over 50 steps.

    Dropout off, on the device that the model lies on. `on_steps()` is called before each pass. Raises
    ModelError `no_token_offsets` for a tokenizer that does not know where its tokens stand in the text.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            "no_token_offsets",
            "The model's tokenizer does not say where its tokens stand in the text.",
            "Ask for predictions without attributions, or train a model that has a fast tokenizer.",
        )
    encoded = tokenizer(
        text, pair, truncation=True, max_length=max_length, return_tensors="pt",
        return_offsets_mapping=True, return_special_tokens_mask=True,
    )  # fmt: skip
    ids = encoded["input_ids"].to(model.device)
    special = encoded["special_tokens_mask"].bool().to(model.device)
    if not ids.shape[1]:
        return Attribution(target, [], 0.0)
    taken = inspect.signature(model.forward).parameters
    others = {
        name: encoded[name].to(model.device)
        for name in ("attention_mask", "token_type_ids")
        if name in encoded and name in taken
    }
    values, error = _values(model, ids, special, others, target, on_steps)
    spans = encoded["offset_mapping"][0].tolist()
    tokens = [
        ((pair or "" if part else text)[first:last], first, last, part == 1, value)
        for value, (first, last), part in zip(values, spans, encoded.sequence_ids(0), strict=True)
        if part is not None
    ]
    return Attribution(target, tokens, error)


def _values(
    model: PreTrainedModel,
    ids: Tensor,
    special: Tensor,
    others: dict[str, Tensor],
    target: int,
    on_steps: Callable[[], object] | None,
) -> tuple[list[float], float]:
    def logits(embedded: Tensor) -> Tensor:
        if on_steps is not None:
            on_steps()
        named = {name: part.expand(len(embedded), -1) for name, part in others.items()}
        found: Tensor = model(inputs_embeds=embedded, **named).logits
        return found

    embed = model.get_input_embeddings()
    baseline = torch.where(special, ids, torch.full_like(ids, _padding(model)))
    was_training = model.training
    model.eval()
    try:
        found, delta = IntegratedGradients(logits).attribute(
            embed(ids).detach(),
            baselines=embed(baseline).detach(),
            target=target,
            n_steps=STEPS,
            internal_batch_size=STEPS_AT_A_TIME,
            return_convergence_delta=True,
        )
    finally:
        model.train(was_training)
    return found.sum(dim=-1)[0].tolist(), float(delta.abs().max())


def _padding(model: PreTrainedModel) -> int:
    padding: Any = model.config.pad_token_id
    return padding if isinstance(padding, int) else 0
