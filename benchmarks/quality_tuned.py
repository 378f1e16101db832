"""What fine-tuned models say of the labels: AUM, EL2N, S_i and out-of-fold predictions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from quality_data import SOURCES, Ints, Setting
from quality_last_layer import entering_last_layer, keep_last_layer, places

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier, load_classifier
from models.noise.discriminant import FOLDS
from models.reading import outputs_by_batch
from models.training import ScoringRun, TrainingConfig

Floats = NDArray[np.float64]
EPOCHS, EARLY = 4, 2
LEARNING_RATES = {"banking": 1e-3, "clothing": 1e-4, "home_depot": 2e-3, "news": 1e-4, "shopping_zh": 1e-4}
"""Of 1e-4, 3e-4, 1e-3 and 2e-3 the best on the right labels of seed 0's validation split, after 4 epochs."""


@dataclass(frozen=True)
class Visits:
    """Means over the epochs of a model that trains on all rows with the given labels, each (n,).

    aum: the margin (Pleiss et al. 2020). el2n: the error's norm, over the first two epochs only (Paul et al.
    2021). importance: S_i, the norm of the sample's own gradient.
    """

    aum: Floats
    el2n: Floats
    importance: Floats


class FineTuned:
    """Models fine-tuned on a setting's train rows: trained when first asked for, what they say kept beside
    the results. Each starts from the pretrained model and trains the last layer and the head."""

    def __init__(self, setting: Setting, seed: int, models: Path, cache: Path) -> None:
        self._setting = setting
        self._seed = seed
        self._source = SOURCES[setting.source]
        self._folder = str(models / self._source.model)
        self._cache = cache

    def visits(self) -> Visits:
        aum, el2n, importance = self._kept("visits", self._trained_on_all)
        return Visits(aum, el2n, importance)

    def label_quality(self, fold: Ints, score: str) -> Floats:
        """(n,) of cleanlab, from what models say that did not train on the row's fold; fold: (n,)."""
        said = self._kept("folds", lambda: self._out_of_fold(fold))
        return np.asarray(get_label_quality_scores(self._setting.given, said, method=score))

    def _kept(self, what: str, compute: Callable[[], Floats]) -> Floats:
        name = self._setting.name.replace(" ", "-")
        path = self._cache / f"tuned-{what}-{name}-{self._seed}.npy"
        if not path.exists():
            began = time.monotonic()
            np.save(path, compute())
            print(f"fine-tuned: {what} of {name}, {time.monotonic() - began:.0f} s", flush=True)
        return np.asarray(np.load(path))

    def _trained_on_all(self) -> Floats:
        """(3, n): margin, EL2N and gradient norm."""
        data, table = self._data
        sums = np.zeros((3, len(data)))
        for step in self._run(self._model(table), data).steps():
            signals = step.signals
            sums[0, signals.positions] += signals.margin / EPOCHS
            sums[1, signals.positions] += signals.el2n * (step.epoch < EARLY) / EARLY
            sums[2, signals.positions] += signals.grad_norm / EPOCHS
        return sums

    def _out_of_fold(self, fold: Ints) -> Floats:
        """(n, classes) softmax."""
        data, table = self._data
        said = np.zeros((len(data), self._setting.classes))
        for one in range(FOLDS):
            outside = np.flatnonzero(fold == one)
            classifier = self._model(table)
            for _step in self._run(classifier, data.take(np.flatnonzero(fold != one))).steps():
                pass
            for batch, outputs in outputs_by_batch(classifier.model, data.tokens.take(outside)):
                said[outside[batch]] = outputs.logits.double().softmax(dim=1).numpy()
        return said

    @cached_property
    def _data(self) -> tuple[LabelledTexts, NDArray[np.float16]]:
        """The train rows as places in a table, and the table."""
        texts = self._setting.texts[: len(self._setting.given)]
        classifier = self._loaded()
        pairs = None if self._source.pair is None else [pair for _, pair in texts]
        tokens = tokenize(classifier.tokenizer, [text for text, _ in texts], pairs, self._source.max_length)
        path = self._cache / f"entering-{self._setting.source}-{self._seed}.npy"
        if not path.exists():
            np.save(path, entering_last_layer(classifier.model, tokens))
        return LabelledTexts(places(tokens), self._setting.given), np.load(path)

    def _loaded(self) -> LoadedClassifier:
        return load_classifier(self._folder, num_labels=self._setting.classes, seed=self._seed)

    def _model(self, table: NDArray[np.float16]) -> LoadedClassifier:
        classifier = self._loaded()
        keep_last_layer(classifier, table)
        return classifier

    def _run(self, classifier: LoadedClassifier, train: LabelledTexts) -> ScoringRun:
        config = TrainingConfig(
            num_train_epochs=EPOCHS,
            learning_rate=LEARNING_RATES[self._setting.source],
            per_device_train_batch_size=32,
            warmup_ratio=0.1,
            weight_decay=0.01,
            seed=self._seed,
        )
        return ScoringRun(classifier, train, None, config, torch.device("cpu"))
