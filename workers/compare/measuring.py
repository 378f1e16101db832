"""How well one model does on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts import Label
from app.errors import JobFailed
from models.classification import area_under_roc
from models.evaluation import classification_metrics
from models.ranking import RankingMetrics
from models.relevance import ranked_by_expected_grade, ranking_means
from workers.compare.plan import Training
from workers.score.data import Rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """logits: (n, classes) of the test samples. train_loss: mean of the last epoch."""

    training: Training
    logits: NDArray[np.float32]
    train_loss: float
    seconds: float


@dataclass(frozen=True)
class Measured:
    """values: (n,) what models are compared by the mean of: right or wrong, or the NDCG@10 of each query that
    has one."""

    trained: Trained
    metrics: dict[str, float | None]
    values: Floats


@dataclass(frozen=True)
class Measure:
    """On n test samples. by_query: classes are grades, and what counts is the order within each query."""

    test: Rows
    classes: Sequence[Label]
    by_query: bool

    def require_enough(self) -> None:
        """Raises JobFailed `no_test` where there are fewer than two values to compare."""
        count, what = len(self.test), "labelled samples"
        if self.by_query:
            relevant = self._grades[self.test.labels] > 0
            count, what = len(np.unique(self.test.queries[relevant])), "queries with a relevant sample"
        if count < 2:
            raise JobFailed("no_test", f"the test split has {count} {what}, too few to compare on")

    @property
    def name(self) -> str:
        """What models are compared by."""
        return "ndcg@10" if self.by_query else "accuracy"

    def of(self, one: Trained) -> Measured:
        plain = classification_metrics(one.logits, self.test.labels)
        metrics: dict[str, float | None] = {
            "accuracy": plain.accuracy,
            "macro_f1": plain.macro_f1,
            "auc": area_under_roc(one.logits, self.test.labels),
            "loss": plain.loss,
        }
        if not self.by_query:
            return Measured(one, metrics, (one.logits.argmax(axis=1) == self.test.labels).astype(np.float64))
        ranked = self._ranked(one)
        metrics |= ranking_means(ranked)
        values = ranked.ndcg[10].values
        return Measured(one, metrics, values[~np.isnan(values)])

    def _ranked(self, one: Trained) -> RankingMetrics:
        return ranked_by_expected_grade(one.logits, self.test.labels, self._grades, self.test.queries)

    @property
    def _grades(self) -> Floats:
        return np.array([float(label) for label in self.classes])
