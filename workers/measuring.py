"""How well a model does on a split, by all the metrics of the dataset's task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from app.contracts import Label
from models.classification import area_under_roc
from models.errors import ModelError
from models.evaluation import classification_metrics
from models.ranking import RankingMetrics, ranking_metrics
from workers.score.data import Rows
from workers.score.recording import some

CUT_OFFS = (5, 10)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Measured:
    """metrics: None where one is undefined. values: what models are compared by the mean of, right or wrong
    (n,), or the NDCG@10 of each query that has one."""

    metrics: Metrics
    values: Floats


@dataclass(frozen=True)
class Measure:
    """On n samples. by_query: classes are grades, and what counts is the order within each query."""

    rows: Rows
    classes: Sequence[Label]
    by_query: bool

    @property
    def name(self) -> str:
        """What models are compared by."""
        return "ndcg@10" if self.by_query else "accuracy"

    @cached_property
    def units(self) -> Ints:
        """(n,) which of a model's `values` each sample is part of; −1: its query has nothing relevant."""
        if not self.by_query:
            return np.arange(len(self.rows))
        kept = np.unique(self.rows.queries[self._grades[self.rows.labels] > 0])
        places = np.searchsorted(kept, self.rows.queries)
        return np.where(np.isin(self.rows.queries, kept), places, -1)

    def of(self, logits: NDArray[np.float32]) -> Measured:
        """logits: (n, classes). Raises ModelError where one is not finite."""
        broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(broken):
            raise ModelError(
                "non_finite_score",
                f"What the model says of {len(broken)} samples is infinite or not a number: "
                f"{some([self.rows.ids[i] for i in broken.tolist()])}.",
                "Lower the learning rate: the training diverged at its end.",
            )
        plain = classification_metrics(logits, self.rows.labels)
        metrics: Metrics = {
            "accuracy": plain.accuracy,
            "macro_f1": plain.macro_f1,
            "auc": area_under_roc(logits, self.rows.labels),
            "loss": plain.loss,
        }
        if not self.by_query:
            return Measured(metrics, (logits.argmax(axis=1) == self.rows.labels).astype(np.float64))
        ranked = self._ranked(logits)
        metrics |= {f"ndcg@{k}": ranked.ndcg[k].mean for k in CUT_OFFS}
        metrics |= {"mrr": ranked.reciprocal_rank.mean, "map": ranked.average_precision.mean}
        values = ranked.ndcg[10].values
        return Measured(metrics, values[~np.isnan(values)])

    def _ranked(self, logits: NDArray[np.float32]) -> RankingMetrics:
        """By the grade that the model expects, Σ p · grade."""
        expected = softmax(logits.astype(np.float64), axis=1) @ self._grades
        return ranking_metrics(expected, self._grades[self.rows.labels], self.rows.queries, CUT_OFFS)

    @property
    def _grades(self) -> Floats:
        return np.array([float(label) for label in self.classes])
