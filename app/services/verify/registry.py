"""The dataset's meta, its lineages, what a dead writer left, and keys that belong to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.contracts import Dataset
from app.errors import NotFound
from app.services.verify.findings import Finding, Findings
from app.store.datasets import dataset_of
from app.store.ids import segment_buckets, segment_of
from app.store.inspection import Inspection
from app.store.keys import DatasetKeys
from app.store.layout import CELLS_A_CHUNK, ENTRIES_A_BUCKET, MEMBERS_A_CHUNK
from app.store.scores import shard_count
from app.store.state import State

MOVING = ("fence", "next_ordinal")
"""Fields of the meta hash that change without a new manifest."""


def check_meta_hash(state: State, inspection: Inspection, dataset: Dataset) -> Findings:
    """The meta hash against the manifest; its lineage and its fence."""
    key = state.keys.dataset(dataset.uid).meta
    meta = inspection.meta(dataset.uid)
    manifest = state.archive.of_dataset(dataset).meta()
    if manifest is None:
        return [Finding("archive", "the dataset has no manifest: it cannot be rebuilt", dataset.name)]
    found = [
        Finding("meta", f"{field} is {meta.get(field)!r}, the manifest says {right!r}", dataset.name, key)
        for field, right in _fixed(manifest).items()
        if meta.get(field) != right
    ]
    extra = _fixed(meta).keys() - manifest.keys()
    found += [Finding("meta", f"{field} is not in the manifest", dataset.name, key) for field in extra]
    if int(meta.get("next_ordinal", 0)) < int(manifest.get("next_ordinal", 0)):
        detail = f"next_ordinal is {meta.get('next_ordinal')}, but was {manifest['next_ordinal']} before"
        found.append(Finding("ordinals", detail, dataset.name, key))
    if int(meta.get("fence", 0)) > inspection.last_token():
        detail = f"its fence {meta['fence']} is above the last token that was given out"
        found.append(Finding("fence", detail, dataset.name, key))
    return found


def _fixed(meta: dict[str, str]) -> dict[str, str]:
    return {field: value for field, value in meta.items() if field not in MOVING}


def check_lineages(state: State, inspection: Inspection, dataset: Dataset) -> Findings:
    found = []
    for lineage_id, right in state.archive.of_dataset(dataset).lineages().items():
        if inspection.lineage(dataset.uid, lineage_id) != right:
            key = state.keys.dataset(dataset.uid).lineage(lineage_id)
            found.append(Finding("lineage", "it is not what the archive says", dataset.name, key))
    return found


def check_journal(state: State, dataset: Dataset) -> Findings:
    """To be called under the write lock: then a batch in the journal is one that its writer left."""
    ids = state.journal.unfinished(dataset.uid)
    if ids is None:
        return []
    detail = f"a writer died over {len(ids)} samples; the next write, or a start of the service, finishes it"
    return [Finding("unfinished", detail, dataset.name, state.keys.dataset(dataset.uid).journal)]


def check_registered(inspection: Inspection, state: State, name: str, uid: str) -> Findings:
    """A name leads to a dataset of that name, whose samples are there."""
    dataset = _described(inspection, uid)
    try:
        if dataset is not None and (dataset.name, dataset.uid) == (name, uid):
            state.samples.count(dataset)
            return []
    except NotFound:
        return [Finding("samples", "the table of its samples is gone", name)]
    detail = f"the name leads to {uid}, which is no dataset of that name"
    return [Finding("registry", detail, name, state.keys.datasets)]


def _described(inspection: Inspection, uid: str) -> Dataset | None:
    """The dataset of a meta hash; None where that is gone, or not whole."""
    meta = inspection.meta(uid)
    try:
        return dataset_of(meta) if meta else None
    except ValueError:
        return None


def orphaned_keys(state: State, inspection: Inspection) -> Iterator[Finding]:
    """Keys that no dataset, no version, no lineage and no job accounts for."""
    known = _Known(state, inspection)
    for key in inspection.all_keys():
        if not known.accounts_for(key):
            # It may have become known, or gone, since the registry was read.
            if _Known(state, inspection).accounts_for(key) or not inspection.exists(key):
                continue
            yield Finding("orphan", "nothing accounts for this key", known.dataset_of_key(key), key)


class _Known:
    """What accounts for keys, as it was at one time."""

    def __init__(self, state: State, inspection: Inspection) -> None:
        self._state = state
        self._inspection = inspection
        self._names = {uid: name for name, uid in inspection.registry().items()}
        self._datasets: dict[str, _KnownDataset | None] = {}
        jobs, predictions = state.keys.jobs, state.keys.predictions
        self._single = {
            state.keys.datasets,
            state.keys.fsync_marker,
            state.keys.housekeeping,
            state.keys.api_keys,
            *(
                jobs.index,
                jobs.queue,
                jobs.leases,
                jobs.busy,
                jobs.served,
                jobs.token,
                jobs.watched,
                jobs.workers,
                jobs.draining,
                jobs.webhooks,
                jobs.tally,
                jobs.figures,
            ),
            *(predictions.queue, predictions.predictors),
            *state.keys.audit.all,
        }
        self._prefixes = (state.keys.celery_prefix, f"{state.keys.rates}:")
        self._job_ids = inspection.job_ids()

    def dataset_of_key(self, key: str) -> str | None:
        return self._names.get(_uid(key) or "")

    def accounts_for(self, key: str) -> bool:
        jobs, predictions = self._state.keys.jobs, self._state.keys.predictions
        passing = (jobs.idempotency(""), predictions.asked(""), predictions.answer(""))
        if key in self._single or key.startswith((*self._prefixes, *passing)):
            return True
        if key.startswith(jobs.record("")):
            return key.removeprefix(jobs.record("")) in self._job_ids
        uid = _uid(key)
        if uid is None:
            return False
        if key == self._state.keys.dataset(uid).write_lock:
            return True  # goes by itself
        if uid not in self._names:
            return False
        if uid not in self._datasets:
            self._datasets[uid] = _KnownDataset.of(self._state, self._inspection, uid)
        dataset = self._datasets[uid]
        return dataset is None or dataset.accounts_for(key)  # None: told of already


@dataclass(frozen=True)
class _KnownDataset:
    keys: DatasetKeys
    ordinals: int
    lineages: frozenset[str]
    versions: frozenset[int]

    @classmethod
    def of(cls, state: State, inspection: Inspection, uid: str) -> _KnownDataset | None:
        dataset = _described(inspection, uid)
        if dataset is None:
            return None
        lineages = frozenset(state.archive.of_dataset(dataset).lineages())
        # One beyond the current version is being made, or was when its maker died: the next replaces it.
        versions = frozenset({*state.sets.numbers(dataset), dataset.set_version + 1})
        ordinals = state.datasets.next_ordinal(dataset)
        return cls(state.keys.dataset(uid), ordinals, lineages, versions)

    def accounts_for(self, key: str) -> bool:
        if key in (self.keys.meta, self.keys.journal, self.keys.versions):
            return True
        if key.startswith(self.keys.answer("")):
            return True  # goes by itself
        rest = key.removeprefix(self.keys.base)
        if found := re.fullmatch(r":lineage:(.+)", rest):
            return found[1] in self.lineages
        if found := re.fullmatch(r":s:(.+):(\d+)", rest):
            return found[1] in self.lineages and int(found[2]) < shard_count(self.ordinals)
        if found := re.fullmatch(r":v:(\d+):(c|m:core|m:edge|m:noise):(\d+)", rest):
            size = CELLS_A_CHUNK if found[2] == "c" else MEMBERS_A_CHUNK
            return int(found[1]) in self.versions and int(found[3]) * size < self.ordinals
        if found := re.fullmatch(r":i:(\d+):(\d+)", rest):
            segment, bucket = int(found[1]), int(found[2])
            return segment <= segment_of(max(0, self.ordinals - 1)) and bucket < segment_buckets(segment)
        if found := re.fullmatch(r":e:(\d+)", rest):
            return int(found[1]) * ENTRIES_A_BUCKET < self.ordinals
        return False


def _uid(key: str) -> str | None:
    found = re.match(r"[^:]+:\{([0-9a-f]+)\}:", key)
    return None if found is None else found[1]
