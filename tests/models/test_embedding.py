"""Where texts lie: the mean over a text's own tokens, whatever its batch mates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.encoders import load_classifier
from models.encoders.adapters import LoraSettings, add_lora
from models.encoders.embedding import mean_embeddings
from models.errors import ModelError
from tests.models.conftest import LoadTiny, MakeData
from tests.models.tiny import build_tiny_gpt2


def test_it_is_the_mean_of_the_last_hidden_states(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny(dropout=0.3)
    data = make_data(classifier, 23)
    classifier.model.train()
    done: list[int] = []
    found = mean_embeddings(classifier.model, data.tokens, batch_size=8, on_batch=done.append)
    assert classifier.model.training
    assert done == [8, 16, 23]
    classifier.model.eval()
    for i in range(len(data)):
        ids, mask, types = data.tokens.padded(np.array([i]), 0)
        with torch.no_grad():
            hidden = classifier.model.base_model(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                token_type_ids=None if types is None else torch.from_numpy(types),
            ).last_hidden_state
        mean = hidden[0].mean(dim=0)
        np.testing.assert_allclose(found[i], (mean / mean.norm()).numpy(), rtol=1e-4, atol=1e-5)


def test_of_a_decoder(tmp_path: Path, make_data: MakeData) -> None:
    classifier = load_classifier(str(build_tiny_gpt2(tmp_path / "gpt2")), num_labels=3, seed=5)
    found = mean_embeddings(classifier.model, make_data(classifier, 9).tokens, batch_size=4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)


def test_adapters_that_have_not_been_trained_change_nothing(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 9)
    plain = mean_embeddings(classifier.model, data.tokens)
    add_lora(classifier.model, LoraSettings(r=2), seed=1)
    np.testing.assert_allclose(mean_embeddings(classifier.model, data.tokens), plain, rtol=1e-4, atol=1e-5)


def test_a_model_that_shows_nothing_is_refused(
    load_tiny: LoadTiny, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 3)

    def mute(input_ids: torch.Tensor, **_given: object) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.zeros(len(input_ids), 3))

    monkeypatch.setattr(classifier.model, "forward", mute)
    with pytest.raises(ModelError) as caught:
        mean_embeddings(classifier.model, data.tokens)
    assert caught.value.code == "no_hidden_states"
