"""Pre-training on texts: the library's own loss, resumable to the bit, an encoder that a classifier takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BertConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    XLNetConfig,
    XLNetModel,
)

from models.batching import TokenizedTexts, tokenize
from models.encoders import load_classifier
from models.encoders.language import (
    LoadedLanguageModel,
    adopt_encoder,
    encoder_state,
    load_language_model,
)
from models.errors import ModelError
from models.training import PretrainingRun, TrainingConfig
from models.training.randomness import seeded_randomness
from tests.models.runs import CPU, changed, saved
from tests.models.tiny import WORDS, build_tiny_bert, build_tiny_gpt2

CONFIG = changed(num_train_epochs=2, per_device_train_batch_size=8, gradient_accumulation_steps=2)
PLAIN = changed(max_steps=1, warmup_ratio=0.0, gradient_accumulation_steps=1, per_device_train_batch_size=32)
KINDS = {"bert": build_tiny_bert, "gpt2": build_tiny_gpt2}


@pytest.fixture(scope="module", params=sorted(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS[request.param](tmp_path_factory.mktemp("models") / request.param)


def load(folder: Path, *, dropout: float = 0.0) -> LoadedLanguageModel:
    language = load_language_model(str(folder), seed=5, config_overrides={})
    for module in language.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return language


def texts_for(language: LoadedLanguageModel, count: int = 30) -> TokenizedTexts:
    """One of them of a single word."""
    rng = np.random.default_rng(0)
    texts = [WORDS[0], *(" ".join(WORDS[i : i + 8]) for i in rng.integers(0, len(WORDS) - 8, count - 1))]
    return tokenize(language.tokenizer, texts, None, 16)


def run_of(
    language: LoadedLanguageModel, texts: TokenizedTexts, config: TrainingConfig = CONFIG, share: float = 0.15
) -> PretrainingRun:
    return PretrainingRun(language, texts, config, CPU, mlm_probability=share)


def test_the_loss_is_that_of_the_library(folder: Path) -> None:
    """Its collator and its model's own loss, on the same draw."""
    language, plain = load(folder), load(folder)
    texts = texts_for(language)
    run = run_of(language, texts, PLAIN)
    (result,) = run.steps()
    collator = DataCollatorForLanguageModeling(plain.tokenizer, mlm=plain.masked, mlm_probability=0.15)
    order = result.signals.positions
    ids, mask = (torch.from_numpy(one) for one in texts.padded(order, 0)[:2])
    if plain.masked:
        with seeded_randomness(CPU, PLAIN.seed, 0, 0):
            ids, labels = collator.torch_mask_tokens(ids)
    else:
        labels = ids.masked_fill(mask == 0, -100)
    wanted = float(plain.model(input_ids=ids, attention_mask=mask, labels=labels).loss.detach())
    assert result.loss == pytest.approx(wanted, rel=1e-5)


def test_a_resumed_run_is_the_same_to_the_bit_and_learns(folder: Path) -> None:
    whole = load(folder, dropout=0.2)
    texts = texts_for(whole)
    config = changed(num_train_epochs=4, per_device_train_batch_size=8, learning_rate=3e-3)
    expected = [step.loss for step in run_of(whole, texts, config).steps()]
    assert expected[-1] < expected[0]
    for stop_after in (1, 4):
        first = run_of(load(folder, dropout=0.2), texts, config)
        steps = first.steps()
        for _ in range(stop_after):
            next(steps)
        state = saved(first)  # type: ignore[arg-type]
        steps.close()
        again = load(folder, dropout=0.2)
        resumed = run_of(again, texts, config)
        resumed.load_state_dict(state)
        assert [step.loss for step in resumed.steps()] == expected[stop_after:]
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name]), name
    if whole.masked:
        with pytest.raises(ModelError, match="other language"):
            run_of(load(folder), texts, config, share=0.3).load_state_dict(state)


def test_a_classifier_takes_the_encoder_and_keeps_its_head(folder: Path) -> None:
    language = load(folder)
    for _ in run_of(language, texts_for(language), PLAIN).steps():
        pass
    classifier, plain = (load_classifier(str(folder), num_labels=3, seed=5) for _ in range(2))
    adopt_encoder(classifier.model, encoder_state(language.model))
    before, theirs = plain.model.state_dict(), language.model.state_dict()
    moved = [
        name for name, value in classifier.model.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert any("attn" in name or "attention" in name for name in moved)
    for name, value in classifier.model.state_dict().items():
        shared = name.startswith(f"{classifier.model.base_model_prefix}.") and ".pooler." not in name
        assert torch.equal(value, theirs[name] if shared else before[name]), name


def test_batches_with_nothing_to_say_have_no_loss(folder: Path) -> None:
    language = load(folder)
    texts = tokenize(language.tokenizer, [WORDS[0]] * 3, None, 16)
    (result,) = run_of(language, texts, PLAIN, share=1e-9).steps()
    assert result.loss == 0.0


def test_a_head_that_is_not_in_the_files_is_told(tmp_path: Path) -> None:
    bare = build_tiny_bert(tmp_path / "bare")
    first, second = load(bare), load(bare)
    assert (first.masked, first.fresh_head) == (True, True)
    assert all(
        torch.equal(value, second.model.state_dict()[name])
        for name, value in first.model.state_dict().items()
    )
    whole = tmp_path / "whole"
    model = BertForMaskedLM(BertConfig.from_pretrained(bare))
    model.save_pretrained(whole)
    first.tokenizer.save_pretrained(whole)
    assert not load(whole).fresh_head
    gpt2 = load(build_tiny_gpt2(tmp_path / "gpt2"))
    assert (gpt2.masked, gpt2.fresh_head) == (False, False)  # its head is its table of embeddings


def test_a_model_that_cannot_be_pretrained_is_refused(tmp_path: Path) -> None:
    bert, gpt2 = build_tiny_bert(tmp_path / "bert"), build_tiny_gpt2(tmp_path / "gpt2")
    language = load(bert)
    texts = texts_for(language)
    language.model.resize_token_embeddings(len(language.tokenizer) - 1)
    with pytest.raises(ModelError) as caught:
        run_of(language, texts)
    assert caught.value.code == "tokenizer_mismatch", "one of its tokens could be drawn"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).write_bytes((gpt2 / name).read_bytes())
    BartConfig().save_pretrained(tmp_path / "bart")
    config = XLNetConfig(vocab_size=40, d_model=16, n_layer=1, n_head=2, d_inner=16)
    XLNetModel(config).save_pretrained(tmp_path / "xlnet")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "xlnet" / name).write_bytes((gpt2 / name).read_bytes())
    refused = ((bert, "mask token"), (tmp_path / "bart", "bart"), (tmp_path / "xlnet", "sees the tokens"))
    for folder, cause in refused:
        with pytest.raises(ModelError, match=cause) as caught:
            load(folder)
        assert caught.value.code == "no_language_model"
