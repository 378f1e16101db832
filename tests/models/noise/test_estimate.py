"""The estimate finds wrong labels, says how sure it is, and is silent where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from models.noise import Judged, Reviewed, Trusted, estimate_noise
from models.noise.estimate import LEAST_JUDGED
from tests.models.noise.clouds import Clouds, area_under_roc, clouds


@pytest.fixture(scope="module")
def noisy() -> Clouds:
    return clouds(2_000)


@pytest.mark.parametrize("classes", [2, 4, 20])
def test_wrong_labels_are_found_with_the_precision_that_is_stated(classes: int) -> None:
    given = clouds(2_000, classes=classes)
    found = estimate_noise(given.judged())
    assert area_under_roc(found.suspicion, given.wrong) > 0.95
    assert found.rate == pytest.approx(0.2, abs=0.06)
    called = found.probability >= 0.5
    assert called.sum() > 0.5 * given.wrong.sum()
    assert given.wrong[called].mean() == pytest.approx(found.probability[called].mean(), abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_clean_labels_are_left_alone(seed: int) -> None:
    found = estimate_noise(clouds(2_000, noise=0.0, seed=seed).judged())
    assert (found.probability >= 0.5).mean() < 0.01
    assert found.rate < 0.03


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [2.0, 4.0])
def test_where_classes_can_hardly_be_told_apart_nothing_is_called(spread: float, seed: int) -> None:
    """Graded relevance in an embedding that does not know it: every label looks as if it could be another."""
    hard = clouds(1500, classes=3, noise=0.0, spread=spread, seed=seed)
    found = estimate_noise(hard.judged(), seed=seed)
    assert (found.probability >= 0.5).mean() <= 0.03


def test_the_suggested_label_is_the_true_one(noisy: Clouds) -> None:
    found = estimate_noise(noisy.judged())
    called = (found.probability >= 0.5) & noisy.wrong
    assert (found.suggested[called] == noisy.true[called]).mean() > 0.95
    right = (found.probability < 0.1) & ~noisy.wrong
    assert (found.suggested[right] == -1).mean() > 0.9


def test_the_probability_rises_with_the_suspicion(noisy: Clouds) -> None:
    found = estimate_noise(noisy.judged())
    by_suspicion = found.probability[np.argsort(found.suspicion)]
    assert (np.diff(by_suspicion) >= 0).all()
    assert 0.0 <= by_suspicion[0] <= by_suspicion[-1] < 1.0


def test_the_same_samples_give_the_same_estimate(noisy: Clouds) -> None:
    one, other = estimate_noise(noisy.judged(), seed=3), estimate_noise(noisy.judged(), seed=3)
    assert np.array_equal(one.probability, other.probability)
    assert np.array_equal(one.suspicion, other.suspicion)


def one_sided() -> Clouds:
    """Wrong labels of one class alone, which lie where the two classes overlap most."""
    given = clouds(2_000, classes=2, noise=0.0, spread=1.2)
    labels = given.given.copy()
    ones = np.flatnonzero(labels == 1)
    labels[np.random.default_rng(5).choice(ones, len(ones) // 4, replace=False)] = 0
    return given._replace(given=labels)


def test_a_trusted_split_ranks_better() -> None:
    given, trusted = one_sided(), clouds(500, classes=2, noise=0.0, spread=1.2, seed=9)
    alone = estimate_noise(given.judged())
    helped = estimate_noise(given.judged(), Trusted(trusted.rows, trusted.given, trusted.folds))
    assert helped.basis == "trusted_validation"
    assert area_under_roc(helped.suspicion, given.wrong) > area_under_roc(alone.suspicion, given.wrong)


def test_reviews_teach_which_class_is_wrong_and_how_often() -> None:
    given = one_sided()
    reviewed = np.random.default_rng(1).choice(len(given.given), 200, replace=False)
    alone = estimate_noise(given.judged())
    helped = estimate_noise(given.judged(), reviewed=Reviewed(reviewed, given.wrong[reviewed]))
    assert helped.basis == "reviews"
    others = np.setdiff1d(np.arange(len(given.given)), reviewed)
    gained = area_under_roc(helped.suspicion[others], given.wrong[others])
    assert gained > area_under_roc(alone.suspicion[others], given.wrong[others])
    assert helped.rate == pytest.approx(given.wrong.mean(), abs=0.05)


def test_a_verdict_is_the_last_word(noisy: Clouds) -> None:
    before = estimate_noise(noisy.judged())
    most, least = int(before.suspicion.argmax()), int(before.suspicion.argmin())
    after = estimate_noise(
        noisy.judged(), reviewed=Reviewed(np.array([least, most]), np.array([True, False]))
    )
    assert (after.probability[least], after.probability[most]) == (1.0, 0.0)


@pytest.mark.parametrize("classes", [2, 30])
def test_few_samples_and_lone_labels(classes: int) -> None:
    given = clouds(LEAST_JUDGED, classes=classes, noise=0.1)
    lone = given.given.copy()
    lone[0] = classes  # a class of one
    found = estimate_noise(Judged(given.rows, lone, given.folds, classes + 1))
    assert np.isfinite(found.probability).all()
    assert np.isfinite(found.suspicion).all()


def test_texts_that_are_all_the_same_say_nothing() -> None:
    given = clouds(200, noise=0.0)
    found = estimate_noise(Judged(np.zeros_like(given.rows) + 0.25, given.given, given.folds, given.classes))
    assert np.isfinite(found.suspicion).all()
    assert not (found.probability >= 0.5).any()
