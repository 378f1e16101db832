"""From scores to a set version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.contracts import Claim, Dataset, SetName, SetVersion, Verdict, now
from app.contracts.params import ScoreParams
from app.store.records import Records, importance
from app.store.review_log import VERDICT_CODES
from app.store.samples import StoredLabel
from app.store.sets import Placement
from app.store.state import State
from models.noise import Reviewed
from models.selection import REASON_CODES, SET_CODES, Evidence, importance_order
from workers.score.judging import judge
from workers.score.seen import Seen

COLUMNS = ("ordinal", "generation", "id", "text", "text_pair", "label", "group", "split")
Ints = NDArray[np.int64]


def place(
    state: State, dataset: Dataset, params: ScoreParams, records: Records, seen: Seen
) -> tuple[Placement, Mapping[str, Any]]:
    """Sorts every scored train sample of the lineage; and what the job's result says of it.

    Those that this job has not seen, because they were scored by an earlier one and held out now, have no
    embedding: where the policy needs that, they are edge.
    """
    rows = _scored(state, dataset, records)
    ordinals = rows["ordinal"].to_numpy()
    values = importance(records[ordinals])
    position = np.full(len(records), -1, dtype=np.int64)
    position[seen.ordinals] = np.arange(len(seen.ordinals))
    where = position[ordinals]
    judged = np.flatnonzero(where >= 0) if seen.embedding is not None else np.arange(len(rows))
    inside = rows.take(pa.array(judged))
    judgement = judge(
        _evidence(inside, values[judged], seen, where[judged]),
        params,
        seen.validation,
        _reviewed(state, dataset, inside),
    )
    sets = np.full(len(rows), SET_CODES["edge"], dtype=np.uint8)
    reasons = np.full(len(rows), REASON_CODES["uncertain"], dtype=np.uint8)
    noise, suggested = np.full(len(rows), np.nan), np.full(len(rows), -1, dtype=np.int32)
    sets[judged], reasons[judged] = judgement.assignment.sets, judgement.assignment.reasons
    noise[judged], suggested[judged] = judgement.noise, judgement.suggested
    order = importance_order(rows["id"].to_pylist(), values)
    placement = Placement(
        ordinals=ordinals[order],
        generations=rows["generation"].to_numpy().astype(np.uint32)[order],
        importance=values[order],
        noise=noise[order],
        sets=sets[order],
        reasons=reasons[order],
        suggested=suggested[order],
    )
    return placement, judgement.told


def publish_sets(
    state: State, dataset: Dataset, claim: Claim, lineage: str, params: ScoreParams, placement: Placement
) -> SetVersion:
    """Makes the placement the current version.

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
        placement = _still_valid(state, dataset, placement)
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


def _scored(state: State, dataset: Dataset, records: Records) -> pa.Table:
    """The train samples whose record belongs to their present content, by ordinal."""
    table = state.samples.table(dataset).to_table(columns=list(COLUMNS)).sort_by("ordinal")
    table = table.filter(pc.equal(table["split"], "train"))
    ordinals = table["ordinal"].to_numpy()
    known = ordinals < len(records)
    held = records[np.where(known, ordinals, 0)]
    scored = known & (held["visits"] > 0) & (held["generation"] == table["generation"].to_numpy())
    return table.filter(pa.array(scored))


def _evidence(rows: pa.Table, values: NDArray[np.float64], seen: Seen, where: Ints) -> Evidence:
    index_of = {StoredLabel.of(label).text: index for index, label in enumerate(seen.classes)}
    groups = rows["group"].combine_chunks()
    texts = zip(rows["text"].to_pylist(), rows["text_pair"].to_pylist(), strict=True)
    codes: dict[tuple[str, str | None], int] = {}
    return Evidence(
        ids=rows["id"].to_pylist(),
        labels=np.array([index_of[text] for text in rows["label"].to_pylist()], dtype=np.int64),
        classes=len(seen.classes),
        importance=values,
        groups=None if groups.null_count == len(groups) else _codes(groups),
        texts=np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.int64),
        embedding=None if seen.embedding is None else seen.embedding[where],
    )


def _codes(groups: pa.Array) -> Ints:
    """A number for each group; a sample without one is a group of its own."""
    encoded = groups.dictionary_encode().indices
    alone = encoded.is_null().to_numpy(zero_copy_only=False)
    codes: Ints = encoded.fill_null(0).to_numpy().astype(np.int64)
    codes[alone] = codes.max(initial=0) + 1 + np.arange(alone.sum())
    return codes


def _reviewed(state: State, dataset: Dataset, rows: pa.Table) -> Reviewed | None:
    """The verdicts in force on these samples' present labels; `unsure` says nothing."""
    generations = rows["generation"].to_numpy().astype(np.uint32)
    codes = state.reviews.in_force(dataset).of(rows["ordinal"].to_numpy(), generations)
    told = np.flatnonzero((codes == VERDICT_CODES[Verdict.CORRECT]) | (codes == VERDICT_CODES[Verdict.WRONG]))
    return Reviewed(told, codes[told] == VERDICT_CODES[Verdict.WRONG]) if len(told) else None


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
