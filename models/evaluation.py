"""How well a classifier does on a split."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from models.batching import LabelledTexts, TokenizedTexts
from models.reading import outputs_by_batch


@dataclass(frozen=True)
class EvaluationMetrics:
    """loss: mean cross-entropy. accuracy, macro_f1: 0 to 1. count: samples evaluated."""

    loss: float
    accuracy: float
    macro_f1: float
    count: int


def evaluate(
    model: PreTrainedModel,
    data: LabelledTexts,
    *,
    batch_size: int = 32,
    autocast_dtype: torch.dtype | None = None,
) -> EvaluationMetrics:
    """Metrics of `model` on `data`, dropout off. The model's mode is as before afterwards."""
    logits = predict_logits(model, data.tokens, batch_size=batch_size, autocast_dtype=autocast_dtype)
    return classification_metrics(logits, data.labels)


def predict_logits(
    model: PreTrainedModel,
    tokens: TokenizedTexts,
    *,
    batch_size: int = 32,
    autocast_dtype: torch.dtype | None = None,
    on_batch: Callable[[], object] | None = None,
) -> NDArray[np.float32]:
    """Logits (n, classes) in the order of `tokens`, dropout off, on the device the model lies on.

    `on_batch()` is called after each batch.
    """
    logits = np.zeros((len(tokens), model.config.num_labels or 0), dtype=np.float32)
    reading = outputs_by_batch(model, tokens, batch_size=batch_size, autocast_dtype=autocast_dtype)
    with closing(reading):
        for batch, outputs in reading:
            logits[batch] = outputs.logits.float().cpu().numpy()
            if on_batch is not None:
                on_batch()
    return logits


def classification_metrics(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> EvaluationMetrics:
    """Metrics of logits (n, classes) against labels (n,), n ≥ 1, in float64.

    The predicted class is the highest logit, the lower index on a tie. macro_f1 is the plain mean of
    F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c) over the classes that occur among the labels or the
    predictions; a class that occurs in neither has no F1 and is left out.
    """
    if len(labels) == 0:
        raise ValueError("metrics of no samples are undefined")
    scores = logits.astype(np.float64)
    shifted = scores - scores.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    predicted = scores.argmax(axis=1)
    right = predicted == labels
    classes = scores.shape[1]
    occurrences = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    true_positives = np.bincount(labels[right], minlength=classes)
    f1 = 2.0 * true_positives[occurrences > 0] / occurrences[occurrences > 0]
    return EvaluationMetrics(float(losses.mean()), float(right.mean()), float(f1.mean()), len(labels))
