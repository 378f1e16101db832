"""All datasets at a glance: how large, how sorted, what was done last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from app.contracts import UNSCORED, Dataset, SetName, Split
from app.errors import NotFound
from app.store.state import State


def overviews(state: State, datasets: Sequence[Dataset]) -> dict[str, dict[str, Any]]:
    """By uid; one that is deleted meanwhile is left out. Counts are kept while a table stays as it is, so
    that a glance at an unchanged dataset costs no more than opening its table."""
    versions = state.sets.current(datasets)
    jobs = state.jobs.newest_of([dataset.uid for dataset in datasets])
    told = {}
    for dataset in datasets:
        try:
            rows = state.samples.counts(dataset)
        except NotFound:
            continue
        splits = Counter({split.value: 0 for split in Split})
        for row in rows:
            splits[row["split"]] += row["count_all"]
        samples = splits.total()
        version = versions.get(dataset.uid)
        sizes = {name.value: 0 for name in SetName} | (version.sizes if version else {})
        told[dataset.uid] = {
            "samples": samples,
            "labelled": sum(row["count_all"] for row in rows if row["label"] is not None),
            "splits": splits,
            "sets": sizes | {UNSCORED: samples - sum(sizes.values())},
            "last_job": jobs.get(dataset.uid),
        }
    return told
