"""Attributions add up to what they explain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.attribution import attribute
from models.encoders import load_classifier
from tests.models.tiny import build_tiny_bert, build_tiny_gpt2

BUILDERS = {"bert": build_tiny_bert, "gpt2": build_tiny_gpt2}


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_values_add_up_to_the_difference_from_padding_alone(family: str, tmp_path: Path) -> None:
    loaded = load_classifier(str(BUILDERS[family](tmp_path / family)), num_labels=2, seed=0)
    model, tokenizer = loaded.model.train(), loaded.tokenizer
    passes = 0

    def count() -> None:
        nonlocal passes
        passes += 1

    text, pair = "this dress is lovely  not bad", "soft coat"
    found = attribute(model, tokenizer, text, pair, max_length=12, target=1, on_steps=count)
    assert model.training
    assert passes > 1
    assert [token for token, *_ in found.tokens][:4] == ["this", "dress", "is", "lovely"]
    for token, first, last, second, _ in found.tokens:
        assert (pair if second else text)[first:last] == token
    encoded = tokenizer(text, pair, truncation=True, max_length=12, return_special_tokens_mask=True)
    padding = model.config.pad_token_id
    special = encoded.pop("special_tokens_mask")
    blank = [
        one if is_special else padding for one, is_special in zip(encoded["input_ids"], special, strict=True)
    ]
    difference = _logit(model, encoded, encoded["input_ids"]) - _logit(model, encoded, blank)
    assert sum(value for *_, value in found.tokens) == pytest.approx(difference, abs=1e-5)
    assert found.error < 1e-5


def _logit(model: torch.nn.Module, encoded: dict[str, list[int]], ids: list[int]) -> float:
    """Of class 1, of embedded tokens: a decoder then does not look for padding."""
    rest = {name: torch.tensor([part]) for name, part in encoded.items() if name != "input_ids"}
    with torch.no_grad():
        embedded = model.get_input_embeddings()(torch.tensor([ids]))  # type: ignore[operator]
        return float(model.eval()(inputs_embeds=embedded, **rest).logits[0, 1])
