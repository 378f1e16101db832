"""Area under ROC against every pair of samples; confusions against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.classification import area_under_roc, confusion_matrix

FEW = st.sampled_from([-2.0, 0.0, 0.5, 4.0])


def area_of_pairs(scores: np.ndarray, is_class: np.ndarray) -> float:
    gaps = scores[is_class][:, None] - scores[~is_class][None, :]
    return float(np.mean(np.where(np.abs(gaps) < 1e-12, 0.5, gaps > 0)))


@given(st.integers(2, 4), st.integers(1, 12), st.data())
def test_area_is_the_share_of_pairs_in_order(classes: int, n: int, data: st.DataObject) -> None:
    logits = data.draw(arrays(np.float32, (n, classes), elements=FEW)).astype(np.float64)
    labels = data.draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    powers = np.exp(logits)
    present = [c for c in range(classes) if 0 < (labels == c).sum() < n]
    if classes == 2:
        present = [c for c in present if c == 1]
    areas = [
        area_of_pairs(np.log(powers[:, c] / np.delete(powers, c, axis=1).sum(axis=1)).round(9), labels == c)
        for c in present
    ]
    found = area_under_roc(logits, labels)
    assert found == (pytest.approx(np.mean(areas), abs=1e-9) if areas else None)


def test_the_area_does_not_saturate_with_the_probabilities() -> None:
    logits = np.array([[0.0, 20.0, 0.0], [0.0, 25.0, 0.0], [0.0, 30.0, 0.0]], dtype=np.float32)
    assert area_under_roc(logits, np.array([0, 1, 1])) == 1.0


def test_one_output_has_no_area() -> None:
    assert area_under_roc(np.zeros((3, 1), dtype=np.float32), np.array([0, 1, 0])) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_confusions_are_counted(rows: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    wanted = [[rows.count((y, p)) for p in range(4)] for y in range(4)]
    assert confusion_matrix(labels, predicted, 4).tolist() == wanted


def test_what_cannot_be_counted_is_refused() -> None:
    zero = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="invalid entry"):
        confusion_matrix(zero, zero + 4, 4)
    with pytest.raises(ValueError, match="not finite"):
        area_under_roc(np.array([[0.0, np.nan], [0.0, 1.0]]), np.array([0, 1]))
