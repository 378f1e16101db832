"""Metrics against their definitions; predictions against one text at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.batching import LabelledTexts
from models.evaluation import classification_metrics, evaluate, predict_logits
from tests.models.conftest import LoadTiny, MakeData


def f1_of(label: int, labels: list[int], predicted: list[int]) -> float | None:
    pairs = list(zip(labels, predicted, strict=True))
    tp = sum(1 for y, p in pairs if y == p == label)
    fp = sum(1 for y, p in pairs if p == label != y)
    fn = sum(1 for y, p in pairs if y == label != p)
    return None if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_metrics_are_their_definitions(rows: list[tuple[int, int]]) -> None:
    labels, predicted = ([row[i] for row in rows] for i in (0, 1))
    logits = (np.eye(4, dtype=np.float32) * 2)[predicted]
    metrics = classification_metrics(logits, np.array(labels))
    scores = [score for label in range(4) if (score := f1_of(label, labels, predicted)) is not None]
    right = sum(y == p for y, p in rows)
    total = math.log(math.exp(2) + 3)
    assert metrics.accuracy == pytest.approx(right / len(rows))
    assert metrics.macro_f1 == pytest.approx(sum(scores) / len(scores))
    assert metrics.loss == pytest.approx(total - 2 * right / len(rows))
    assert metrics.count == len(rows)


def test_metrics_of_nothing_are_undefined() -> None:
    with pytest.raises(ValueError, match="no samples"):
        classification_metrics(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.int64))


def test_predictions_do_not_depend_on_batches_and_the_mode_is_put_back(
    load_tiny: LoadTiny, make_data: MakeData
) -> None:
    classifier = load_tiny(dropout=0.3)
    data = make_data(classifier, 23)
    classifier.model.train()
    together = predict_logits(classifier.model, data.tokens, batch_size=8)
    assert classifier.model.training
    for i in range(len(data)):
        alone = predict_logits(classifier.model, data.tokens.take(np.array([i])))
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-4, atol=1e-6)


def test_evaluation_counts_every_sample_once(load_tiny: LoadTiny, make_data: MakeData) -> None:
    classifier = load_tiny()
    data = make_data(classifier, 10)
    logits = predict_logits(classifier.model, data.tokens)
    right = LabelledTexts(data.tokens, logits.argmax(axis=1))
    metrics = evaluate(classifier.model, right, batch_size=3)
    assert (metrics.accuracy, metrics.macro_f1, metrics.count) == (1.0, 1.0, 10)
    assert metrics == evaluate(classifier.model, right, batch_size=3)
