"""How the model saw the job's samples, for explanations of what became of them."""

from __future__ import annotations

from dataclasses import dataclass
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

    def state(self) -> dict[str, torch.Tensor] | None:
        return packed(self._views)

    def load_state(self, state: dict[str, torch.Tensor] | None) -> None:
        self._views = unpacked(state)

    @property
    def views(self) -> HeadViews | None:
        return self._views


def packed(views: HeadViews | None) -> dict[str, torch.Tensor] | None:
    """For a checkpoint; the tensors share the arrays' memory."""
    return None if views is None else {name: torch.from_numpy(values) for name, values in vars(views).items()}


def unpacked(held: dict[str, torch.Tensor] | None) -> HeadViews | None:
    return None if held is None else HeadViews(**{name: values.numpy() for name, values in held.items()})


@dataclass(frozen=True)
class Sight:
    """How a model that has visited every train sample saw them, and how it sees the validation samples at its
    end. head: of its last layer, see `ScoringRun.head_preconditioner`. None where there is no such thing."""

    train: HeadViews | None
    validation: HeadViews | None
    head: NDArray[np.float32] | None

    @classmethod
    def at_the_end(
        cls, ground: Groundwork, material: Material, run: ScoringRun, book: ViewBook | None
    ) -> Sight:
        """Without a book the run looks at the train samples, too. Raises what the lease raises."""
        check, validation = ground.lease.check, None
        train = run.look(material.train.tokens, check) if book is None else book.views
        if material.validation is not None:
            validation = run.look(material.validation.tokens, check)
        return cls(train, validation, run.head_preconditioner())


def keep_explanation(ground: Groundwork, material: Material, sight: Sight) -> None:
    """Leaves what explanations are made of, and removes that of jobs whose sets are no longer kept."""
    samples = _samples(material, sight.train, sight.validation)
    when_there_is_room(ground.lease, lambda: Explanation(ground.results).write(samples, sight.head))
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
