"""The parts of the estimate against plain computations of the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.noise import neighbours
from models.noise.discriminant import _RIDGE, fit_discriminant, softmax
from models.noise.logistic import isotonic, logistic_fit, logistic_weights
from models.noise.neighbours import nearest_neighbours, unit_rows
from models.noise.planting import plant
from tests.models.noise.clouds import clouds


# -- neighbours --------------------------------------------------------------------------------------
def test_neighbours_are_those_of_highest_cosine() -> None:
    rows = clouds(300).rows
    found = nearest_neighbours(rows, k=7)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    expected = np.sort(cosines, axis=1)[:, ::-1][:, :7]
    assert np.allclose(found.cosines, expected, atol=1e-5)
    assert not (found.indices == np.arange(300)[:, None]).any()


def test_twins_do_not_hide_a_row_from_itself() -> None:
    rows = np.repeat(clouds(3).rows, 10, axis=0)
    found = nearest_neighbours(rows, k=5)
    assert not (found.indices == np.arange(30)[:, None]).any()
    assert np.allclose(found.cosines, 1.0, atol=1e-5)


def test_votes_weigh_by_the_square_of_the_cosine() -> None:
    found = neighbours.Neighbours(np.array([[1, 2, 0]]), np.array([[0.8, 0.5, -0.9]], dtype=np.float32))
    votes = found.votes(np.eye(3))
    assert votes[0] == pytest.approx([0.0, 0.64 / 0.89, 0.25 / 0.89], abs=1e-6)


def test_many_rows_are_searched_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clouds(3_000, noise=0.0).rows
    exact = nearest_neighbours(rows, k=10)
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 1_000)
    first, again = nearest_neighbours(rows, k=10), nearest_neighbours(rows, k=10)
    assert np.array_equal(first.indices, again.indices)
    pairs = zip(exact.indices, first.indices, strict=True)
    assert np.mean([len(np.intersect1d(one, other)) for one, other in pairs]) > 9.0


def test_a_row_of_zeros_stays() -> None:
    assert np.array_equal(unit_rows(np.zeros((2, 3), dtype=np.float32)), np.zeros((2, 3)))


# -- discriminant ------------------------------------------------------------------------------------
def test_out_of_fold_is_a_discriminant_fitted_without_the_fold() -> None:
    some = clouds(400, classes=3, dim=6)
    found = fit_discriminant(some.rows, some.given, some.folds, 3)
    logits = np.zeros((400, 3))
    for fold in range(5):
        out = some.folds == fold
        logits[out] = _plain(some.rows[~out].astype(float), some.given[~out], 3, some.rows[out].astype(float))
    assert np.allclose(found.said, softmax(logits * found.temperature), atol=1e-9)
    whole = _plain(some.rows.astype(float), some.given, 3, some.rows.astype(float))
    assert np.allclose(found.say(some.rows), softmax(whole * found.temperature), atol=1e-9)


def _plain(rows: np.ndarray, labels: np.ndarray, classes: int, asked: np.ndarray) -> np.ndarray:
    counts = np.bincount(labels, minlength=classes)
    means = np.stack(
        [(rows[labels == c].sum(0) + 2 * rows.mean(0)) / (counts[c] + 2) for c in range(classes)]
    )
    residuals = rows - means[labels]
    within = residuals.T @ residuals / len(rows)
    within += _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    inverse = np.linalg.inv(within)
    return np.stack(
        [
            asked @ inverse @ m - 0.5 * m @ inverse @ m + np.log(c + 1)
            for m, c in zip(means, counts, strict=True)
        ],
        axis=1,
    )


def test_reweighting_makes_wrong_labels_count_less() -> None:
    some = clouds(1_000, noise=0.3, seed=2)
    once = fit_discriminant(some.rows, some.given, some.folds, 4)
    thrice = fit_discriminant(some.rows, some.given, some.folds, 4, rounds=3)
    own = np.arange(1_000), some.given
    assert thrice.said[own][some.wrong].mean() < once.said[own][some.wrong].mean()


# -- small models ------------------------------------------------------------------------------------
points = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=30
)


@given(points)
@settings(deadline=None)
def test_isotonic_is_the_best_rising_step_function(rows: list[tuple[int, int, int]]) -> None:
    """Against the min-max formula: max over a ≤ i of min over b ≥ i of the mean of a … b."""
    rows = sorted({x: (x, y, w) for x, y, w in rows}.values())
    x, y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    _, values = isotonic(x, y, w)
    n = len(x)

    def mean(a: int, b: int) -> float:
        return float(np.average(y[a : b + 1], weights=w[a : b + 1]))

    expected = [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]
    assert np.unique(np.round(values, 9)) == pytest.approx(np.unique(np.round(expected, 9)))
    assert (np.diff(values) > 0).all()


def test_logistic_fit_is_where_the_slope_is_zero() -> None:
    random = np.random.default_rng(0)
    inputs = np.column_stack([random.normal(size=(200, 2)), np.ones(200)])
    target = random.random(200) < 1 / (1 + np.exp(-(inputs @ np.array([1.0, -2.0, 0.5]))))
    weights, centre, precision = random.random(200), np.array([0.2, 0.0, -6.0]), np.array([0.5, 2.0, 0.1])
    found = logistic_fit(inputs, target, weights, centre, precision)
    chance = 1 / (1 + np.exp(-(inputs @ found)))
    slope = inputs.T @ (weights * (target - chance)) - precision * (found - centre)
    assert np.allclose(slope, 0.0, atol=1e-6)


def test_no_voice_counts_against_itself() -> None:
    random = np.random.default_rng(0)
    planted = random.random(500) < 0.5
    doubts = np.column_stack([1.0 * planted, -1.0 * planted]) + random.normal(size=(500, 2))
    weights = logistic_weights(doubts, planted, np.ones(500))
    assert weights[0] > 0
    assert weights[1] == 0


# -- planting ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("confusion", [0.0, 0.5, 1.0])
def test_a_planted_label_is_never_the_given_one(confusion: float) -> None:
    said = np.random.default_rng(0).dirichlet(np.ones(4), 500)
    labels = said.argmax(axis=1)
    planted = plant(said, labels, confusion, np.random.default_rng(1))
    assert (planted.labels != labels[planted.positions]).all()
    assert ((planted.labels >= 0) & (planted.labels < 4)).all()
    assert np.bincount(planted.positions).tolist() == [3] * 500


def test_confusions_go_to_the_class_that_is_said() -> None:
    said = np.tile([0.5, 0.4, 0.1], (2_000, 1))
    planted = plant(said, np.zeros(2_000, dtype=np.int64), 1.0, np.random.default_rng(1))
    assert (planted.labels == 1).mean() == pytest.approx(0.8, abs=0.02)
    even = plant(said, np.zeros(2_000, dtype=np.int64), 0.0, np.random.default_rng(1))
    assert (even.labels == 1).mean() == pytest.approx(0.5, abs=0.02)
