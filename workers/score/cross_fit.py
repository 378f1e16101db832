"""What models say of the samples that did not teach them, fold by fold (`params.cross_fit`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.logs import get_logger
from models.noise.estimate import LEAST_JUDGED
from models.selection import drawn
from workers.score.configuration import training_config
from workers.score.data import Rows
from workers.score.groundwork import Groundwork, Material
from workers.score.hearing import Hearing
from workers.score.pace import Pace
from workers.score.teaching import Teaching

log = get_logger(__name__)


@dataclass(frozen=True)
class Heard:
    """logs: (n, classes) log probabilities of the train samples. told: for the job's result."""

    logs: NDArray[np.float64]
    told: Mapping[str, Any]


class CrossFit:
    """As many models as there are folds, trained as the job's own, each on all other folds."""

    def __init__(self, ground: Groundwork, material: Material, folds: int | None) -> None:
        self._ground = ground
        self._material = material
        self._config = training_config(ground.params)
        self._folds: list[NDArray[np.int64]] = []
        if folds is not None and len(material.train) >= LEAST_JUDGED:
            fold = folds_by_text(material.data.train, folds, ground.params.seed)
            parts = (np.flatnonzero(fold == number) for number in range(folds))
            self._folds = [part for part in parts if 0 < len(part) < len(fold)]

    @property
    def steps(self) -> int:
        epochs, count = self._config.num_train_epochs, len(self._material.train)
        return sum(epochs * self._config.steps_per_epoch(count - len(fold)) for fold in self._folds)

    def hear(self, pace: Pace) -> Heard | None:
        """None where there are no folds. Goes on where an earlier attempt was.

        Raises what the lease raises, and what the training does.
        """
        if not self._folds:
            return None
        train = self._material.train
        teaching = Teaching(self._ground, self._material, None, pace, turn=0)
        hearing = Hearing.of_nothing(len(train), len(self._material.data.classes))
        for number, fold in enumerate(self._folds, 1):
            pace.phase = f"cross-fit: fold {number} of {len(self._folds)}"
            others = np.setdiff1d(np.arange(len(train)), fold)
            taught = teaching.teach(f"fold {number}", others, self._config.num_train_epochs, recording=False)
            hearing = hearing.with_more((taught.others, taught.logits))
        pace.go_to(self.steps)
        logs = hearing.means()
        agreed = float((logs.argmax(axis=1) == train.labels).mean())
        log.info("cross-fitted", folds=len(self._folds), agreed=round(agreed, 4))
        return Heard(logs, {"folds": len(self._folds), "agreement": agreed})


def folds_by_text(rows: Rows, folds: int, seed: int) -> NDArray[np.int64]:
    """(n,) 0 … folds − 1, by the text alone: a copy with the same wrong label would vouch for its twin."""
    pairs = rows.text_pairs or [None] * len(rows)
    texts = [f"{text}\0{pair or ''}" for text, pair in zip(rows.texts, pairs, strict=True)]
    return (drawn(texts, seed) % np.uint64(folds)).astype(np.int64)
