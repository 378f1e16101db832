"""How the model saw the job's samples, for explanations of what became of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.store.explanations import Explanation, SeenSamples
from models.encoders.head import HeadViews
from models.training import ScoringRun
from workers.score.data import Rows
from workers.score.groundwork import Groundwork, Material
from workers.score.room import when_there_is_room


class ViewBook:
    """What the last layer read and said of each of n train samples when it was visited last: nothing that a
    score depends on, and no pass of its own."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._views: HeadViews | None = None

    def add(self, positions: NDArray[np.int64], views: HeadViews | None) -> None:
        if views is None:
            return
        if self._views is None:
            self._views = HeadViews(
                np.zeros((self._count, views.hidden.shape[1]), views.hidden.dtype),
                np.zeros((self._count, views.logits.shape[1]), views.logits.dtype),
            )
        self._views.hidden[positions] = views.hidden
        self._views.logits[positions] = views.logits

    def state(self) -> dict[str, Any] | None:
        if self._views is None:
            return None
        return {name: torch.from_numpy(values) for name, values in vars(self._views).items()}

    def load_state(self, state: dict[str, Any] | None) -> None:
        if state is not None:
            self._views = HeadViews(**{name: values.numpy() for name, values in state.items()})

    @property
    def views(self) -> HeadViews | None:
        return self._views


def keep_explanation(
    ground: Groundwork, material: Material, book: ViewBook | None = None, run: ScoringRun | None = None
) -> None:
    """Leaves what explanations are made of, and removes that of jobs whose sets are no longer kept.

    book, run: of the last training. A run without a book looks at the train samples, too; None of both where
    no model has visited every sample.
    """
    tokens = None if material.validation is None else material.validation.tokens
    validation = None if run is None or tokens is None else run.look(tokens)
    train = None if book is None else book.views
    if book is None and run is not None:
        train = run.look(material.train.tokens)
    samples = _samples(material, train, validation)
    head = None if run is None else run.head_preconditioner()
    when_there_is_room(ground.lease, lambda: Explanation(ground.results).write(samples, head))
    kept = {version.job for version in ground.state.sets.versions(material.dataset)}
    ground.state.results.drop_explanations(material.dataset.uid, kept | {ground.claim.job.id})


def _samples(material: Material, train: HeadViews | None, validation: HeadViews | None) -> SeenSamples:
    seen, rows = material.seen, [material.data.train]
    embeddings = [seen.embedding]
    if material.data.validation is not None:
        rows.append(material.data.validation)
        embeddings.append(None if seen.validation is None else seen.validation.embedding)
    views = [train, validation][: len(rows)]
    wide: dict[str, NDArray[Any]] = {}
    if all(one is not None for one in embeddings):
        wide["embedding"] = np.concatenate([one.astype(np.float16) for one in embeddings if one is not None])
    if all(one is not None for one in views):
        wide["hidden"] = np.concatenate([one.hidden for one in views if one is not None])
        wide["logits"] = np.concatenate([one.logits for one in views if one is not None])
    return SeenSamples(
        ordinal=_joined(rows, "ordinals").astype(np.int64),
        generation=_joined(rows, "generations").astype(np.int64),
        label=_joined(rows, "labels").astype(np.int32),
        validation=np.repeat([False, True][: len(rows)], [len(one) for one in rows]),
        wide=wide,
    )


def _joined(rows: list[Rows], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(one, name) for one in rows])
