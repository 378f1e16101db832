"""From scores to a set version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.contracts import Claim, Dataset, SetName, SetVersion, now
from app.contracts.params import SortingParams
from app.store.records import Records, importance
from app.store.samples import StoredLabel
from app.store.sets import Placement
from app.store.state import State
from models.noise import Reviewed
from models.selection import REASON_CODES, SET_CODES, Evidence, importance_order
from workers.score.evidence import evidence_of, reviewed_of
from workers.score.exclusion import NOTHING, Exclusion
from workers.score.judging import Judgement
from workers.score.seen import Seen

COLUMNS = ("ordinal", "generation", "id", "text", "text_pair", "label", "group", "split")
Ints = NDArray[np.int64]
Sort = Callable[[Evidence, Ints, Reviewed | None], Judgement]
"""Of these samples, which are the job's numbers (n,), with what reviewers said of them."""


def place(
    state: State,
    dataset: Dataset,
    records: Records,
    seen: Seen,
    sort: Sort,
    exclusion: Exclusion = NOTHING,
) -> tuple[Placement, Mapping[str, Any]]:
    """Sorts every scored train sample of the lineage; and what the job's result says of it.

    Those that this job has not seen, because they were scored by an earlier one and held out now, have no
    embedding: where the policy needs that, they are edge. Those that flags exclude are in no set, though an
    earlier job may have scored them.
    """
    rows = _scored(state, dataset, records, exclusion)
    ordinals = rows["ordinal"].to_numpy()
    generations = rows["generation"].to_numpy().astype(np.uint32)
    values = importance(records[ordinals])
    position = np.full(len(records), -1, dtype=np.int64)
    position[seen.ordinals] = np.arange(len(seen.ordinals))
    where = position[ordinals]
    judged = np.flatnonzero(where >= 0) if seen.embedding is not None else np.arange(len(rows))
    inside = rows.take(pa.array(judged))
    index_of = {StoredLabel.of(label).text: index for index, label in enumerate(seen.classes)}
    evidence = evidence_of(
        inside["id"].to_pylist(),
        np.array([index_of[text] for text in inside["label"].to_pylist()], dtype=np.int64),
        list(zip(inside["text"].to_pylist(), inside["text_pair"].to_pylist(), strict=True)),
        inside["group"].to_pylist(),
        values[judged],
        seen,
        where[judged],
    )
    reviewed = reviewed_of(state, dataset, ordinals[judged], generations[judged])
    judgement = sort(evidence, where[judged], reviewed)
    sets = np.full(len(rows), SET_CODES["edge"], dtype=np.uint8)
    reasons = np.full(len(rows), REASON_CODES["uncertain"], dtype=np.uint8)
    noise, suggested = np.full(len(rows), np.nan), np.full(len(rows), -1, dtype=np.int32)
    sets[judged], reasons[judged] = judgement.assignment.sets, judgement.assignment.reasons
    noise[judged], suggested[judged] = judgement.noise, judgement.suggested
    order = importance_order(rows["id"].to_pylist(), values)
    placement = Placement(
        ordinals=ordinals[order],
        generations=generations[order],
        importance=values[order],
        noise=noise[order],
        sets=sets[order],
        reasons=reasons[order],
        suggested=suggested[order],
    )
    return placement, judgement.told


def publish_sets(
    state: State,
    dataset: Dataset,
    claim: Claim,
    lineage: str,
    params: SortingParams,
    placement: Placement,
    turn: Mapping[str, Any] | None = None,
) -> SetVersion:
    """Makes the placement the current version.

    Holds the dataset's write lock meanwhile: a sample that was changed or deleted since it was scored has no
    place in the new version. An attempt that comes again after a crash finds its own version made. turn: of
    a job that makes several, its `round` and what came of it; shown with the version's parameters.

    Raises:
        StaleWorker: another worker has taken the dataset over.
    """
    with state.datasets.writing(dataset):
        turn = turn or {}
        newest = next(iter(state.sets.versions(dataset)), None)
        if newest is not None and _of(newest) == (claim.job.id, turn.get("round")):
            state.archive.save_manifest(dataset)
            return newest
        placement = _still_valid(state, dataset, placement)
        version = SetVersion(
            version=1 if newest is None else newest.version + 1,
            policy=params.policy,
            params=_policy_params(params) | dict(turn),
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


def _of(version: SetVersion) -> tuple[str, int | None]:
    return version.job, version.params.get("round")


def _policy_params(params: SortingParams) -> dict[str, Any]:
    return {"core_fraction": params.core_fraction, "noise_fraction": params.noise_fraction}


def _scored(state: State, dataset: Dataset, records: Records, exclusion: Exclusion) -> pa.Table:
    """The train samples whose record belongs to their present content, by ordinal."""
    table = state.samples.table(dataset).to_table(columns=list(COLUMNS)).sort_by("ordinal")
    table = table.filter(pc.equal(table["split"], "train"))
    ordinals, generations = table["ordinal"].to_numpy(), table["generation"].to_numpy().astype(np.uint32)
    known = ordinals < len(records)
    held = records[np.where(known, ordinals, 0)]
    scored = known & (held["visits"] > 0) & (held["generation"] == generations)
    scored &= ~exclusion.leaves_out(ordinals, generations)
    return table.filter(pa.array(scored))


def _still_valid(state: State, dataset: Dataset, placement: Placement) -> Placement:
    """Without the samples that have changed, left the train split or gone since they were judged."""
    table = state.samples.table(dataset).to_table(columns=["ordinal", "generation", "split"])
    table = table.filter(pc.equal(table["split"], "train"))
    present = np.full(int(placement.ordinals.max(initial=-1)) + 1, -1, dtype=np.int64)
    ordinals = table["ordinal"].to_numpy()
    inside = ordinals < len(present)
    present[ordinals[inside]] = table["generation"].to_numpy()[inside]
    kept = present[placement.ordinals] == placement.generations
    if kept.all():
        return placement
    return replace(
        placement,
        ordinals=placement.ordinals[kept],
        generations=placement.generations[kept],
        importance=placement.importance[kept],
        noise=placement.noise[kept],
        sets=placement.sets[kept],
        reasons=placement.reasons[kept],
        suggested=placement.suggested[kept],
    )
