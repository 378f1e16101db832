"""From what a training step says of its samples to visits, and to failures that name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from app.errors import JobFailed
from app.store.records import Unrecordable, Visits
from models.errors import ModelError
from models.signals import VisitSignals
from workers.score.data import Rows

NAMED_SAMPLES = 5
Ints = NDArray[np.int64]


def visits_of(signals: VisitSignals, rows: Rows, positions: Ints) -> Visits:
    """The visits of a step whose samples are at these positions (visits,) of `rows`."""
    return Visits(
        ordinals=rows.ordinals[positions],
        generations=rows.generations[positions],
        grad_norm=signals.grad_norm,
        loss=signals.loss.astype(np.float64),
        el2n=signals.el2n.astype(np.float64),
        margin=signals.margin.astype(np.float64),
        confidence=signals.confidence.astype(np.float64),
        correct=signals.correct,
        alignment=signals.alignment.astype(np.float64),
    )


@contextmanager
def naming(rows: Rows, positions: Ints | None = None) -> Iterator[None]:
    """A failure within that names positions names the samples there instead.

    positions: where in `rows` the samples are that are meant by 0, 1, …; None: they are all of them.
    """
    try:
        yield
    except (ModelError, Unrecordable) as error:
        if not error.positions:
            raise
        meant = np.array(error.positions, dtype=np.int64)
        ids = [rows.ids[i] for i in (meant if positions is None else positions[meant]).tolist()]
        raise JobFailed(error.code, f"{error.detail} Samples: {some(ids)}", remedy=error.remedy) from error


def some(ids: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(repr(one) for one in ids[:NAMED_SAMPLES])
    return f"{shown} and {len(ids) - NAMED_SAMPLES} more" if len(ids) > NAMED_SAMPLES else shown
