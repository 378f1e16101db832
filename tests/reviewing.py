"""A set version with noise probabilities and suggestions, as the score job publishes it: file and Redis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.contracts import SetVersion, now
from app.store.sets import Placement
from app.store.state import State

NOISE, EDGE = 3, 2


def publish(
    state: State,
    ids: Sequence[str],
    noise: Sequence[float] | None = None,
    suggested: Sequence[int] | None = None,
    *,
    name: str = "d",
    token: int = 1,
) -> int:
    """Ids by importance descending, q of each (None: `policy=seed`), and the class that each seems to be."""
    dataset = state.datasets.get(name)
    count = len(ids)
    entries = [state.ids.find(dataset, sample_id) for sample_id in ids]
    assert all(entries)
    q = np.full(count, np.nan) if noise is None else np.array(noise, dtype=np.float64)
    sets = np.where(np.nan_to_num(q) > 0.5, NOISE, EDGE).astype(np.uint8)
    placement = Placement(
        ordinals=np.array([entry.ordinal for entry in entries if entry], dtype=np.int64),
        generations=np.array([entry.generation for entry in entries if entry], dtype=np.uint32),
        importance=np.arange(count, 0, -1, dtype=np.float64),
        noise=q,
        sets=sets,
        reasons=np.where(sets == NOISE, 6, 4).astype(np.uint8),
        suggested=np.full(count, -1, np.int32) if suggested is None else np.array(suggested, dtype=np.int32),
    )
    version = SetVersion(
        version=max(state.sets.numbers(dataset), default=0) + 1,
        policy="seed" if noise is None else "robust",
        params={},
        job="job_played",
        lineage="lin_played",
        created_at=now(),
        sizes={"core": 0, "edge": int((sets == EDGE).sum()), "noise": int((sets == NOISE).sum())},
    )
    state.datasets.take_fence(dataset.uid, token)
    state.archive.of_dataset(dataset).save_version(version, placement, token=token)
    state.sets.publish(dataset.uid, version, placement, token=token)
    return version.version
