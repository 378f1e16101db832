"""Training by losses of grades: resumable, the same in micro-batches, and better at ranking than before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from models.batching import LabelledTexts, tokenize
from models.encoders import LoadedClassifier
from models.errors import ModelError
from models.evaluation import predict_logits
from models.ranking import ranking_metrics
from models.training import FittingRun, TrainingConfig
from tests.models.conftest import LoadTiny
from tests.models.runs import CPU, changed, parameters, state_after

GRADED = ["ordinal", "mse", "pairwise", "listwise"]
GRADES = (0.0, 1.0, 2.0)
WORDS = {0: ["rough", "bad", "awful"], 1: ["good", "fit", "size"], 2: ["lovely", "love", "soft"]}


def products(classifier: LoadedClassifier, queries: int, seed: int = 0) -> LabelledTexts:
    """Queries of 2 to 7 products, whose words tell the grade."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(queries), rng.integers(2, 8, queries))
    labels = rng.integers(0, 3, len(codes))
    texts = [
        f"the dress {rng.choice(WORDS[label])} {rng.choice(['shoe', 'coat'])}" for label in labels.tolist()
    ]
    return LabelledTexts(tokenize(classifier.tokenizer, texts, None, 16), labels, codes)


def fit(
    classifier: LoadedClassifier,
    train: LabelledTexts,
    config: TrainingConfig,
    validation: LabelledTexts | None = None,
) -> FittingRun:
    return FittingRun(classifier, train, validation, config, CPU, grades=GRADES)


def ndcg(classifier: LoadedClassifier, data: LabelledTexts) -> float:
    grades = np.array(GRADES)
    expected = softmax(predict_logits(classifier.model, data.tokens), axis=1) @ grades
    mean = ranking_metrics(expected, grades[data.labels], data.codes).ndcg[10].mean
    assert mean is not None
    return mean


@pytest.mark.parametrize("loss", GRADED)
def test_a_resumed_run_is_the_same_to_the_bit(load_tiny: LoadTiny, loss: str) -> None:
    """In the middle of an epoch and of the next; batches of whole queries, two a step."""
    config = changed(loss=loss, load_best_model_at_end=True, per_device_train_batch_size=8)
    whole = load_tiny(dropout=0.2)
    data, validation = products(whole, 8), products(whole, 3, seed=1)
    results = list(fit(whole, data, config, validation).steps())
    expected = [(step.loss, step.validation_loss) for step in results]
    assert all((result.validation_loss is None) != result.epoch_ended for result in results)
    for stop_after in (1, len(results) // 2 + 1):
        state = state_after(fit(load_tiny(dropout=0.2), data, config, validation), stop_after)
        again = load_tiny(dropout=0.2)
        resumed = fit(again, data, config, validation)
        resumed.load_state_dict(state)
        rest = [(step.loss, step.validation_loss) for step in resumed.steps()]
        assert rest == expected[stop_after:]
        for name, value in parameters(whole).items():
            assert torch.equal(value, parameters(again)[name]), name
    other = FittingRun(load_tiny(), data, validation, config, CPU, grades=(0.0, 1.0, 3.0))
    with pytest.raises(ModelError, match="other grades"):
        other.load_state_dict(state)


@pytest.mark.parametrize("loss", ["pairwise", "listwise"])
def test_micro_batches_of_whole_queries_are_one_batch(load_tiny: LoadTiny, loss: str) -> None:
    small, large = load_tiny(), load_tiny()
    data = products(small, 6)
    plain = changed(loss=loss, max_steps=1, warmup_ratio=0.0, max_grad_norm=None)
    sizes = ({"per_device_train_batch_size": 8}, {"per_device_train_batch_size": len(data)})
    runs = []
    for classifier, size in zip((small, large), sizes, strict=True):
        config = replace(plain, gradient_accumulation_steps=9, **size)
        (result,) = fit(classifier, data, config).steps()
        assert sorted(result.signals.positions.tolist()) == list(range(len(data)))
        runs.append(result.signals.of[np.argsort(result.signals.positions)])
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-4, atol=1e-6)
    for name, value in parameters(small).items():
        torch.testing.assert_close(value, parameters(large)[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", GRADED)
def test_training_ranks_better_than_no_training(load_tiny: LoadTiny, loss: str) -> None:
    classifier = load_tiny()
    data, unseen = products(classifier, 30), products(classifier, 15, seed=1)
    before = ndcg(classifier, unseen)
    config = changed(
        loss=loss,
        num_train_epochs=12,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=1,
        learning_rate=3e-3,
    )
    for _ in fit(classifier, data, config).steps():
        pass
    assert ndcg(classifier, unseen) > max(before + 0.1, 0.95)
    predicted = predict_logits(classifier.model, unseen.tokens).argmax(axis=1)
    assert (predicted == unseen.labels).mean() > 0.5, "its classes still mean grades"


def test_the_best_epoch_is_judged_by_the_loss_that_trains(load_tiny: LoadTiny) -> None:
    classifier = load_tiny()
    data, other = products(classifier, 8), products(classifier, 6, seed=1)
    # Labels that no training could foresee: the surer the model, the worse it does.
    validation = replace(other, labels=np.random.default_rng(0).permutation(other.labels))
    config = changed(loss="pairwise", num_train_epochs=6, learning_rate=5e-3, load_best_model_at_end=True)
    run = fit(classifier, data, config, validation)
    losses = [result.validation_loss for result in run.steps() if result.validation_loss is not None]
    assert min(losses) < losses[-1], "the case shows nothing"
    assert run._graded is not None
    logits = predict_logits(classifier.model, validation.tokens)
    mean = run._graded.mean(logits, validation.labels, validation.codes)
    assert mean == pytest.approx(min(losses), rel=1e-6)
