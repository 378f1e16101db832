"""What one accuracy hides: ranking quality and confusions of a classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

Ints = NDArray[np.int64]


def area_under_roc(logits: NDArray[np.floating], labels: Ints) -> float | None:
    """Area under the ROC curve, 0.5 = chance: logits (n, classes), labels (n,). None where it is undefined.

    Two classes: the probability that a sample of class 1 has a higher p_1 than one of class 0, ties by half
    (Hanley and McNeil 1982). More: the plain mean over classes c of c against the rest, by p_c (Provost and
    Domingos 2000). A class that no label or every label has is left out of the mean; where none is left, or
    there are fewer than two classes, there is no area. Raises ValueError where a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite")
    classes = logits.shape[1]
    if classes < 2:
        return None
    scores = logits.astype(np.float64)
    shifted = scores - scores.max(axis=1, keepdims=True)
    # The logarithm keeps apart what rounds to p = 1; terms in order of size let equals tie to the last bit.
    log_p = shifted - np.log(np.exp(np.sort(shifted, axis=1)).sum(axis=1, keepdims=True))
    tested = [1] if classes == 2 else range(classes)
    present = [c for c in tested if 0 < int((labels == c).sum()) < len(labels)]
    areas = [float(roc_auc_score(labels == c, log_p[:, c])) for c in present]
    return float(np.mean(areas)) if areas else None


def confusion_matrix(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts (classes, classes): row = label, column = prediction, both (n,). Raises ValueError where one is
    not in 0 … classes − 1."""
    cells = np.ravel_multi_index((labels, predicted), (classes, classes))
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
