"""Makes the Redis state of datasets anew from their samples and the archive, to the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, Dataset, SetName
from app.errors import Conflict, NotFound
from app.store.archive import DatasetArchive, Fields, check_meta
from app.store.content import ENTRY_COLUMNS, entry_of
from app.store.deltas import LineageDeltas, Run, settled_by
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger
from app.store.refill import Refill
from app.store.scores import shard_count
from app.store.set_files import StoredVersion
from app.store.state import State
from app.store.unfinished import replace_reviewed_labels

ROWS_A_CALL = 2_000
SHARDS_A_CALL = 64
Report = Callable[[str, int, int], None]
"""Told what is being rebuilt, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Rebuilt:
    dataset: str
    samples: int
    shards: int
    versions: int


def rebuild(
    state: State, names: Sequence[str], *, replace: bool, report: Report
) -> tuple[list[Rebuilt], int]:
    """Rebuilds the named datasets, or all; answers what was rebuilt, and how many jobs.

    Each dataset gets a new fence, so that workers of the time before are refused. Nothing is touched unless
    all of the datasets can be rebuilt.

    Raises:
        NotFound: no archive holds a dataset of that name.
        Conflict: Redis holds one of them and `replace` is not set, or a job runs on it.
        Damaged: a file of the archive is gone or altered; that dataset stays invisible.
    """
    refill = Refill(state.client, state.keys)
    state.api_keys.refill(state.key_archive.held().values())  # first: no door is open without its lock
    homes = _chosen(state, names)
    for _, meta in homes:
        _require_free(state, meta, replace=replace)
    done = []
    for home, meta in homes:
        dataset = check_meta(meta)
        token = refill.take_token()
        if state.datasets.find(dataset.name) is not None:
            state.datasets.take_fence(dataset.uid, token)
            with state.datasets.writing(dataset):
                state.datasets.forget(dataset)
        refill.clear(dataset.uid)
        done.append(_Rebuilding(state, refill, home, dataset, report).run(meta, token))
    uids = {meta["uid"] for _, meta in homes}
    jobs = refill.put_jobs(job for job in state.archive.jobs() if not names or job["uid"] in uids)
    state.make_durable()
    return done, jobs


def _chosen(state: State, names: Sequence[str]) -> list[tuple[DatasetArchive, Fields]]:
    found = {}
    for home in state.archive.datasets():
        meta = home.meta()
        if meta is not None and (not names or meta["name"] in names):
            found[meta["name"]] = (home, meta)
    missing = sorted(set(names) - set(found))
    if missing:
        raise NotFound("unknown_dataset", f"the archive holds no dataset named {', '.join(missing)}")
    return list(found.values())


def _require_free(state: State, meta: Fields, *, replace: bool) -> None:
    held = state.datasets.find(meta["name"])
    if held is None:
        return
    if held.uid != meta["uid"] or not replace:
        detail = f"Redis holds a dataset named {meta['name']!r} already"
        raise Conflict("dataset_exists", detail, remedy="Add --replace to make its state anew.")
    if state.jobs.unfinished_of(held.uid):
        detail = f"jobs wait for or run on dataset {held.name!r}"
        raise Conflict("dataset_busy", detail, remedy="Cancel them, or wait for their end.")


class _Rebuilding:
    """One dataset on its way back."""

    def __init__(
        self, state: State, refill: Refill, home: DatasetArchive, dataset: Dataset, report: Report
    ) -> None:
        self._state = state
        self._refill = refill
        self._home = home
        self._dataset = dataset
        self._report = report

    def run(self, meta: Fields, token: int) -> Rebuilt:
        # The journal that told of a review whose writer died is lost with Redis; the review itself is not.
        replace_reviewed_labels(self._state, self._dataset, None)
        samples, generations = self._ids()
        shards = sum(
            self._lineage(lineage_id, content, len(generations))
            for lineage_id, content in self._home.lineages().items()
        )
        versions = self._versions(int(meta.get("set_version", 0)), generations)
        given = max(len(generations), int(meta.get("next_ordinal", 0)))
        counted = {"next_ordinal": str(given)} if given else {}
        self._refill.register(meta | counted | {"fence": str(token)})
        with self._state.datasets.writing(self._dataset):
            self._state.archive.save_manifest(self._dataset)
        return Rebuilt(self._dataset.name, samples, shards, versions)

    def _ids(self) -> tuple[int, NDArray[np.uint32]]:
        """Ids from the samples; answers how many there are, and the generation of every ordinal."""
        store, dataset = self._state.samples, self._dataset
        generations, samples = current_generations(self._state, dataset)
        done = 0
        for first in range(0, len(generations), ROWS_A_CALL):
            rows = store.between(dataset, first, first + ROWS_A_CALL, ENTRY_COLUMNS)
            self._state.ids.restore(dataset, [(row["id"], entry_of(row)) for row in rows])
            done += len(rows)
            self._report(f"{dataset.name}: ids", done, samples)
        return done, generations

    def _lineage(self, lineage_id: str, content: str, ordinals: int) -> int:
        """Score records from the visits; answers how many shards there are."""
        deltas = self._home.deltas(lineage_id)
        runs = deltas.runs()
        count = max([last + 1 for run in runs for _, last in run.shards], default=0)
        count = max(count, shard_count(ordinals))
        written = 0
        for start in range(0, count, SHARDS_A_CALL):
            stop = min(start + SHARDS_A_CALL, count)
            written += self._shards(lineage_id, deltas, runs, start, stop)
            self._report(f"{self._dataset.name}: scores", stop, count)
        self._refill.put_lineage(self._dataset.uid, lineage_id, content)
        return written

    def _shards(
        self, lineage_id: str, deltas: LineageDeltas, runs: Sequence[Run], start: int, stop: int
    ) -> int:
        records = deltas.replay(runs, start * SHARD_RECORDS, stop * SHARD_RECORDS)
        written = 0
        for number in range(start, stop):
            mine = records[(number - start) * SHARD_RECORDS : (number - start + 1) * SHARD_RECORDS]
            ledger = _ledger(runs, number, visited=bool(mine["visits"].any()))
            if ledger is not None:
                self._refill.put_shard(self._dataset.uid, lineage_id, number, ledger, mine)
                written += 1
        return written

    def _versions(self, newest: int, generations: NDArray[np.uint32]) -> int:
        """Set versions from their files, up to the one that was current."""
        files = {number: name for number, name in self._home.versions().items() if number <= newest}
        for done, name in enumerate(files.values(), 1):
            version = self._home.version(name)
            self._refill.put_version(self._dataset.uid, version, void_counts(version, generations))
            self._report(f"{self._dataset.name}: sets", done, len(files))
        return len(files)


NO_SAMPLE = np.uint32(2**32 - 1)
"""Stands for the generation of an ordinal whose sample is gone."""


def current_generations(state: State, dataset: Dataset) -> tuple[NDArray[np.uint32], int]:
    """The generation of every ordinal up to the last that a sample has, and how many samples there are."""
    ordinals, held = state.samples.generations(dataset)
    generations = np.full(int(ordinals.max(initial=-1)) + 1, NO_SAMPLE, dtype=np.uint32)
    generations[ordinals] = held
    return generations, len(ordinals)


def void_counts(version: StoredVersion, generations: NDArray[np.uint32]) -> dict[int, int]:
    """Code of a set → how many of its members have other content by now, or none."""
    placement = version.placement
    current = np.full(len(placement.ordinals), NO_SAMPLE, dtype=np.uint32)
    known = placement.ordinals < len(generations)
    current[known] = generations[placement.ordinals[known]]
    void = placement.sets[current != placement.generations]
    codes = [CODE_BY_SET[name] for name in SetName]
    return {code: int(np.count_nonzero(void == code)) for code in codes}


def _ledger(runs: Sequence[Run], shard: int, *, visited: bool) -> Ledger | None:
    """That of the last run which wrote the shard; None where none did.

    What is rebuilt of a run whose worker did not see its end claims no step, so that the attempt which
    resumes it is not taken to be behind.
    """
    settled = settled_by(runs, shard)
    unended = [run for run in runs if not run.closed and run.epochs]
    if visited and unended and (settled is None or unended[-1].number > settled.run):
        return Ledger(unended[-1].fence, unended[-1].number, 0)
    return settled
