"""Set versions: against the files they were published from, the samples as they are, and the scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.contracts import CODE_BY_SET, Dataset, SetName, SetVersion
from app.errors import Damaged
from app.services.rebuild import current_generations, void_counts
from app.services.verify.findings import Finding, Findings, confirmed, named, shortened
from app.store.deltas import LAST_STEP
from app.store.inspection import Inspection
from app.store.layout import SHARD_RECORDS
from app.store.records import importance
from app.store.set_files import StoredVersion
from app.store.state import State

SHARDS_A_BLOCK = 64


def check_sets(state: State, inspection: Inspection, dataset: Dataset) -> Iterator[Findings]:
    check = SetCheck(state, inspection, dataset)
    yield confirmed(state, dataset, check.numbers)
    for number in state.sets.numbers(dataset):
        yield confirmed(state, dataset, lambda n=number: check.version(n))  # type: ignore[misc]


class SetCheck:
    def __init__(self, state: State, inspection: Inspection, dataset: Dataset) -> None:
        self._state = state
        self._inspection = inspection
        self._dataset = dataset
        self._keys = state.keys.dataset(dataset.uid)
        self._archive = state.archive.of_dataset(dataset)

    def numbers(self) -> Findings:
        """The current version is there and is the newest one."""
        current = int(self._inspection.meta(self._dataset.uid).get("set_version", 0))
        kept = self._state.sets.numbers(self._dataset)
        if max(kept, default=0) == current:
            return []
        detail = f"set_version is {current}, the newest version is {max(kept, default=0)}"
        return [self._found("versions", detail, self._keys.meta)]

    def version(self, number: int) -> Findings:
        held = self._inspection.versions(self._dataset)
        description = held.get(str(number))
        name = self._archive.versions().get(number)
        if description is None:
            return []  # dropped meanwhile
        if name is None:
            return [self._found("archive", f"version {number} has no file", self._keys.versions)]
        try:
            stored = self._archive.version(name)
        except Damaged as error:
            return [self._found("archive", error.detail)]
        found = []
        if description != stored.description:
            detail = f"the description of version {number} is not that of its file"
            found.append(self._found("versions", detail, self._keys.versions))
        found += self._void(number, held, stored)
        found += self._blobs(number, stored)
        if number == int(self._inspection.meta(self._dataset.uid).get("set_version", 0)):
            found += self._importance(stored)
        return found

    def _found(self, check: str, detail: str, key: str | None = None, sample: str | None = None) -> Finding:
        return Finding(check, detail, self._dataset.name, key, sample)

    def _void(self, number: int, held: dict[str, str], stored: StoredVersion) -> Findings:
        """The counts of members that are void by now, which a version's sizes are lessened by."""
        wanted = void_counts(stored, current_generations(self._state, self._dataset)[0])
        found = []
        for name in SetName:
            field = f"{number}:void:{CODE_BY_SET[name]}"
            count, right = int(held.get(field, 0)), wanted[CODE_BY_SET[name]]
            if count != right:
                detail = f"{field} is {count}, but {right} members of {name} have other content by now"
                found.append(self._found("void", detail, self._keys.versions))
        return found

    def _blobs(self, number: int, stored: StoredVersion) -> Findings:
        """Columns and members, byte by byte."""
        found: Findings = []
        detail = f"version {number} is not as it was published"
        for key, ordinals in self._inspection.version_differences(self._dataset, number, stored):
            names = named(self._state, self._dataset, ordinals)
            of_key = [self._found("sets", detail, key, names[ordinal]) for ordinal in ordinals]
            found += shortened(of_key) or [self._found("sets", f"{detail}: its length differs", key)]
        return found

    def _importance(self, stored: StoredVersion) -> Findings:
        """The importance by which a sample was placed is that of its score, until the next run changes it."""
        description = SetVersion.model_validate_json(stored.description)
        runs = self._archive.deltas(description.lineage).runs()
        run = next((run for run in runs if run.job == description.job), None)
        if run is None or not run.closed:
            return []
        placement = stored.placement
        by_ordinal = np.argsort(placement.ordinals)
        ordinals = placement.ordinals[by_ordinal]
        found: Findings = []
        last = int(ordinals.max(initial=-1)) // SHARD_RECORDS
        for number in range(last + 1):
            start, end = np.searchsorted(ordinals, [number * SHARD_RECORDS, (number + 1) * SHARD_RECORDS])
            rows = by_ordinal[start:end]
            found += self._of_shard(description, stored, number, rows, (run.fence, run.number, LAST_STEP))
        return found

    def _of_shard(
        self,
        description: SetVersion,
        stored: StoredVersion,
        number: int,
        rows: NDArray[np.int64],
        ledger: tuple[int, int, int],
    ) -> Findings:
        shards, _ = self._inspection.shards(self._dataset, description.lineage, [number])
        if number not in shards or shards[number][0] != ledger:
            return []
        placement = stored.placement
        places = placement.ordinals[rows] - number * SHARD_RECORDS
        inside = places < len(shards[number][1])
        records = shards[number][1][places[inside]]
        rows = rows[inside]
        same = records["generation"] == placement.generations[rows]
        differs = same & (importance(records) != placement.importance[rows])
        wrong = placement.ordinals[rows[differs]].tolist()
        names = named(self._state, self._dataset, wrong)
        key = self._keys.shard(description.lineage, number)
        detail = f"placed in version {description.version} by another importance than the score has"
        return shortened([self._found("sets", detail, key, names[ordinal]) for ordinal in wrong])
