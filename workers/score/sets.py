"""From scores to a set version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from app.contracts import Claim, Dataset, ScoreParams, SetName, SetVersion, now
from app.store.records import Records, importance
from app.store.sets import Placement
from app.store.state import State
from models.selection import policies


def publish_sets(
    state: State, dataset: Dataset, claim: Claim, lineage: str, params: ScoreParams, records: Records
) -> SetVersion:
    """Assigns every scored train sample of the lineage to a set, and makes that the current version.

    Holds the dataset's write lock meanwhile: a sample that was changed or deleted since it was scored has no
    place in the new version. An attempt that comes again after a crash finds its own version made.

    Raises:
        StaleWorker: another worker has taken the dataset over.
    """
    with state.datasets.writing(dataset):
        newest = next(iter(state.sets.versions(dataset)), None)
        if newest is not None and newest.job == claim.job.id:
            state.archive.save_manifest(dataset)
            return newest
        placement = _place(state, dataset, params, records)
        version = SetVersion(
            version=1 if newest is None else newest.version + 1,
            policy=params.policy,
            params=_policy_params(params),
            job=claim.job.id,
            lineage=lineage,
            created_at=now(),
            sizes={
                name.value: int(np.count_nonzero(placement.sets == code))
                for code, name in enumerate(SetName, 1)
            },
        )
        archive = state.archive.of_dataset(dataset)
        archive.save_version(version, placement, token=claim.token)
        state.sets.publish(dataset.uid, version, placement, token=claim.token)
        state.archive.save_manifest(dataset)
        archive.keep_versions(set(state.sets.numbers(dataset)))
    return version


def _policy_params(params: ScoreParams) -> dict[str, Any]:
    return {"core_fraction": params.core_fraction, "noise_fraction": params.noise_fraction}


def _place(state: State, dataset: Dataset, params: ScoreParams, records: Records) -> Placement:
    table = state.samples.table(dataset).to_table(columns=["ordinal", "generation", "id", "split"])
    table = table.filter(pc.equal(table["split"], "train"))
    ordinals = table["ordinal"].to_numpy().astype(np.int64)
    generations = table["generation"].to_numpy().astype(np.uint32)
    known = ordinals < len(records)
    held = records[np.where(known, ordinals, 0)]
    scored = known & (held["visits"] > 0) & (held["generation"] == generations)
    chosen = np.flatnonzero(scored)
    ids = table["id"].take(chosen).to_pylist()
    values = importance(held[chosen])
    policy = policies[params.policy](params.core_fraction, params.noise_fraction)
    assignment = policy.assign(values, ids)
    order = assignment.order
    return Placement(
        ordinals=ordinals[chosen][order],
        generations=generations[chosen][order],
        importance=values[order],
        noise=np.full(len(order), np.nan),
        sets=assignment.sets[order],
        reasons=assignment.reasons[order],
        suggested=np.full(len(order), -1, dtype=np.int32),
    )
