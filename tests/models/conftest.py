"""A tiny classifier and a small labelled split, shared by the tests of the mathematics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from tests.models.tiny import WORDS, build_tiny_bert

LoadTiny = Callable[..., LoadedClassifier]
MakeData = Callable[..., LabelledTexts]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def load_tiny(tiny_bert: Path) -> LoadTiny:
    """A fresh classifier of three classes; `dropout` sets both rates."""

    def load(*, dropout: float = 0.0, num_labels: int = 3) -> LoadedClassifier:
        rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        return load_classifier(str(tiny_bert), num_labels=num_labels, seed=5, config_overrides=rates)

    return load


@pytest.fixture
def make_data() -> MakeData:
    """Random sentences of 1 to 20 words, words repeated within them, labels 0 to 2 all present."""

    def make(classifier: LoadedClassifier, count: int, *, seed: int = 0) -> LabelledTexts:
        rng = np.random.default_rng(seed)
        texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 21))) for _ in range(count)]
        labels = np.arange(count, dtype=np.int64) % 3
        return LabelledTexts(tokenize(classifier.tokenizer, texts, None, 64), labels)

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Operations this small lose far more time to threads that wait for a core than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
