"""Loading: what is kept, what is drawn from the seed, and what is refused with which code."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.batching import Collator, tokenize
from models.encoders import folder_revision, load_classifier, trainable_signature
from models.errors import ModelError
from models.evaluation import predict_logits
from tests.models.tiny import build_tiny_bert, build_tiny_gpt2


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "copy"))


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_new_head_follows_the_seed_alone(tiny_bert: Path) -> None:
    torch.manual_seed(1)
    first = load_classifier(str(tiny_bert), num_labels=4, seed=7).model.state_dict()
    torch.manual_seed(2)
    again = load_classifier(str(tiny_bert), num_labels=4, seed=7).model.state_dict()
    other = load_classifier(str(tiny_bert), num_labels=4, seed=8).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert {name for name in first if not torch.equal(first[name], other[name])} == {"classifier.weight"}


def test_loading_leaves_the_global_random_state_alone(tiny_bert: Path) -> None:
    before = torch.get_rng_state()
    load_classifier(str(tiny_bert), num_labels=4, seed=7)
    assert torch.equal(before, torch.get_rng_state())


def test_a_head_of_the_right_size_is_kept(tmp_path: Path) -> None:
    folder = build_tiny_bert(tmp_path / "headed", num_labels=3)
    saved = load_file(folder / "model.safetensors")
    model = load_classifier(str(folder), num_labels=3, seed=99).model
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items() if name in saved)
    assert "classifier.weight" in saved


def test_a_head_of_another_size_is_replaced(tmp_path: Path) -> None:
    folder = build_tiny_bert(tmp_path / "headed", num_labels=3)
    model: Any = load_classifier(str(folder), num_labels=5, seed=99).model
    assert model.config.num_labels == 5
    assert model.classifier.weight.shape == (5, 32)


def test_parameters_are_float32_and_loading_is_silent(
    tiny_bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = load_classifier(str(tiny_bert), num_labels=2, seed=0).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert capfd.readouterr() == ("", "")


def test_config_overrides_are_applied(tiny_bert: Path) -> None:
    overrides = {"num_hidden_layers": 1, "hidden_dropout_prob": 0.25}
    plain = load_classifier(str(tiny_bert), num_labels=2, seed=0)
    changed = load_classifier(str(tiny_bert), num_labels=2, seed=0, config_overrides=overrides)
    bert: Any = changed.model.base_model
    assert len(bert.encoder.layer) == 1
    assert bert.embeddings.dropout.p == 0.25
    assert changed.revision == plain.revision
    assert trainable_signature(changed.model) != trainable_signature(plain.model)


@pytest.mark.parametrize(
    "overrides",
    [
        {"no_such_thing": 1},
        {"num_labels": 7},
        {"auto_map": {"AutoModel": "x.Y"}},
        {"problem_type": "regression"},
        {"_name_or_path": "elsewhere"},
        {"to_dict": 1},
        {"use_return_dict": True},
        {"hidden_dropout_prob": "high"},
        {"hidden_dropout_prob": True},
        {"hidden_dropout_prob": -0.1},
        {"hidden_dropout_prob": float("nan")},
        {"num_hidden_layers": 1.5},
        {"num_hidden_layers": 3},
        {"hidden_size": 64},
        {"max_position_embeddings": 128},
    ],
    ids=str,
)
def test_unknown_dangerous_and_unfitting_overrides_are_refused(
    tiny_bert: Path, overrides: dict[str, object]
) -> None:
    with pytest.raises(ModelError) as caught:
        load_classifier(str(tiny_bert), num_labels=2, seed=0, config_overrides=overrides)
    assert caught.value.code == "invalid_model_config"


def test_every_faulty_override_is_named(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"'bogus'.*'num_labels'"):
        load_classifier(str(tiny_bert), num_labels=2, seed=0, config_overrides={"bogus": 1, "num_labels": 3})


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    remove_weights(folder)


def corrupt_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 1000)


def corrupt_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def remove_everything(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def ask_for_code(folder: Path) -> None:
    change_config(folder, model_type="homemade", auto_map={"AutoConfig": "evil.Config"})
    (folder / "evil.py").write_text("raise SystemExit('this code must never run')")


def become_unknown(folder: Path) -> None:
    change_config(folder, model_type="homemade")


def become_a_vision_model(folder: Path) -> None:
    change_config(folder, model_type="vit")


def claim_more_layers(folder: Path) -> None:
    change_config(folder, num_hidden_layers=4)


def lose_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (remove_weights, "model_not_safetensors"),
        (pickle_weights, "model_not_safetensors"),
        (corrupt_weights, "model_load_failed"),
        (corrupt_config, "model_load_failed"),
        (remove_everything, "model_load_failed"),
        (ask_for_code, "model_needs_remote_code"),
        (become_unknown, "model_load_failed"),
        (become_a_vision_model, "model_load_failed"),
        (claim_more_layers, "model_load_failed"),
        (lose_the_tokenizer, "no_tokenizer"),
    ],
)
def test_a_broken_folder_is_named_for_what_it_is(
    folder: Path, damage: Callable[[Path], None], code: str
) -> None:
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_classifier(str(folder), num_labels=2, seed=0)
    assert caught.value.code == code
    assert caught.value.detail
    assert caught.value.remedy


@pytest.mark.parametrize("source", ["/no/such/folder", "no-such-owner/no-such-model"])
def test_a_model_that_is_nowhere(source: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_classifier(source, num_labels=2, seed=0)
    assert caught.value.code == "model_not_found"


def test_one_class_is_too_few(tiny_bert: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_classifier(str(tiny_bert), num_labels=1, seed=0)
    assert caught.value.code == "too_few_classes"


def test_the_revision_follows_the_content_and_not_the_place(folder: Path, tiny_bert: Path) -> None:
    assert folder_revision(folder) == folder_revision(tiny_bert)
    (folder / "README.md").write_text("words about it")
    assert folder_revision(folder) == folder_revision(tiny_bert)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert folder_revision(folder) != folder_revision(tiny_bert)


def test_the_signature_counts_trainable_parameters_only(tiny_bert: Path) -> None:
    model: Any = load_classifier(str(tiny_bert), num_labels=2, seed=0).model
    before = trainable_signature(model)
    model.bert.embeddings.requires_grad_(False)
    assert trainable_signature(model) != before


def test_the_length_limit_is_the_models(tiny_bert: Path) -> None:
    classifier = load_classifier(str(tiny_bert), num_labels=2, seed=0)
    assert classifier.token_limit == 64
    assert [classifier.clamp_length(wanted) for wanted in (16, 512)] == [16, 64]


def test_a_decoder_without_padding_token_gets_one(tmp_path: Path) -> None:
    classifier = load_classifier(str(build_tiny_gpt2(tmp_path / "gpt2")), num_labels=3, seed=0)
    end = classifier.tokenizer.eos_token_id
    assert classifier.model.config.pad_token_id == classifier.tokenizer.pad_token_id == end
    assert Collator.for_model(classifier.model).pad_token_id == end
    texts = ["the dress is good", "", "bad", "this coat was not very good too small"]
    together = tokenize(classifier.tokenizer, texts, None, 64)
    logits = predict_logits(classifier.model, together)
    for row, text in enumerate(texts):
        alone = predict_logits(classifier.model, tokenize(classifier.tokenizer, [text], None, 64))
        np.testing.assert_allclose(alone[0], logits[row], rtol=1e-5, atol=1e-6)


def test_errors_survive_pickling() -> None:
    error = ModelError("non_finite_score", "It is.", "Do this.", positions=[3, 4])
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.detail, copy.remedy, copy.positions) == (
        "non_finite_score",
        "It is.",
        "Do this.",
        (3, 4),
    )
