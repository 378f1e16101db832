"""Score records: their ledgers, their form, and to the bit against the visits that they were made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.contracts import Dataset, Lineage
from app.errors import Damaged
from app.services.verify.findings import Finding, Findings, confirmed, named, shortened
from app.store.deltas import LineageDeltas, Run, settled_by
from app.store.inspection import Inspection
from app.store.layout import RECORD, SHARD_RECORDS
from app.store.records import Ledger, Records, empty_records
from app.store.scores import shard_count
from app.store.state import State

SHARDS_A_BLOCK = 16


class ScoreCheck:
    """The shards of one lineage.

    A shard that the last closed run wrote for good must hold exactly what the visits add up to. One that a
    newer run or attempt has written since is ahead of the files; only its form is checked.
    """

    def __init__(self, state: State, inspection: Inspection, dataset: Dataset, lineage: Lineage) -> None:
        self._state = state
        self._inspection = inspection
        self._dataset = dataset
        self._lineage = lineage
        self._keys = state.keys.dataset(dataset.uid)
        self._deltas: LineageDeltas = state.archive.of_dataset(dataset).deltas(lineage.id)

    def findings(self) -> Iterator[Findings]:
        count = shard_count(self._state.datasets.next_ordinal(self._dataset))
        for start in range(0, count, SHARDS_A_BLOCK):
            numbers = range(start, min(start + SHARDS_A_BLOCK, count))
            yield confirmed(self._state, self._dataset, lambda n=numbers: self._block(n))  # type: ignore[misc]

    def _block(self, numbers: range) -> Findings:
        try:
            # The files first: a shard that is read later can only be newer than they say.
            runs = self._deltas.runs()
            fence = self._inspection.fence(self._dataset)
            shards, broken = self._inspection.shards(self._dataset, self._lineage.id, numbers)
            found = [self._found(number, "ledger", detail) for number, detail in broken.items()]
            exact = {}
            for number in numbers:
                if number in broken:
                    continue
                held = shards.get(number)
                settled = settled_by(runs, number)
                wrong = self._ledger(held, settled, fence)
                if wrong:
                    found.append(self._found(number, "ledger", wrong))
                elif held is not None and settled is not None and held[0] == settled:
                    exact[number] = settled
            for number, (_, records) in shards.items():
                found += self._form(number, records)
            return found + self._sums(runs, shards, exact, numbers)
        except Damaged as error:
            return [Finding("archive", error.detail, self._dataset.name)]

    def _found(self, number: int, check: str, detail: str, sample: str | None = None) -> Finding:
        return Finding(check, detail, self._dataset.name, self._keys.shard(self._lineage.id, number), sample)

    def _ledger(self, held: tuple[Ledger, Records] | None, settled: Ledger | None, fence: int) -> str | None:
        """What is wrong with a shard's ledger."""
        if held is None:
            return None if settled is None else f"the shard is gone that run {settled.run} wrote"
        ledger = held[0]
        if ledger.fence > fence:
            return f"its fence {ledger.fence} was never given: the dataset's is {fence}"
        if ledger.run > self._lineage.runs:
            return f"it says run {ledger.run}, but the lineage has had {self._lineage.runs}"
        if settled is not None and ledger != settled and ledger[:2] <= (settled.fence, settled.run):
            return f"it says {_told(ledger)}, but {_told(settled)} wrote last"
        if settled is not None and ledger.run < settled.run:
            return f"it says run {ledger.run}, but run {settled.run} wrote later"
        return None

    def _form(self, number: int, records: Records) -> Findings:
        """Records that no sequence of visits can have made."""
        first = number * SHARD_RECORDS
        current = self._generations(first, first + len(records))
        wrong = malformed(records)
        newer = records["generation"].astype(np.int64) > current
        wrong |= newer & (current >= 0)
        if not wrong.any():
            return []
        ordinals = (np.flatnonzero(wrong) + first).tolist()
        names = named(self._state, self._dataset, ordinals)
        detail = "no visits can have made this record"
        return shortened([self._found(number, "records", detail, names[at]) for at in ordinals])

    def _generations(self, first: int, stop: int) -> NDArray[np.int64]:
        """Of the samples; -1 where there is none."""
        current = np.full(stop - first, -1, dtype=np.int64)
        for row in self._state.samples.between(self._dataset, first, stop, ["ordinal", "generation"]):
            current[row["ordinal"] - first] = row["generation"]
        return current

    def _sums(
        self,
        runs: Sequence[Run],
        shards: Mapping[int, tuple[Ledger, Records]],
        exact: Mapping[int, Ledger],
        numbers: range,
    ) -> Findings:
        """Settled shards against their visits, added up anew."""
        found: Findings = []
        for last in sorted({ledger.run for ledger in exact.values()}):
            counted = [run for run in runs if run.number <= last]
            first = numbers.start * SHARD_RECORDS
            replayed = self._deltas.replay(counted, first, numbers.stop * SHARD_RECORDS)
            for number in (n for n, ledger in exact.items() if ledger.run == last):
                start = number * SHARD_RECORDS
                wanted = replayed[start - first : start - first + SHARD_RECORDS]
                found += self._differences(number, shards[number][1], wanted)
        return found

    def _differences(self, number: int, held: Records, wanted: Records) -> Findings:
        if held.tobytes() == wanted.tobytes():
            return []
        if len(held) != len(wanted):
            return [self._found(number, "records", f"{len(held)} records instead of {len(wanted)}")]
        rows = np.flatnonzero([a.tobytes() != b.tobytes() for a, b in zip(held, wanted, strict=True)])
        ordinals = (rows + number * SHARD_RECORDS).tolist()
        names = named(self._state, self._dataset, ordinals)
        return shortened(
            [
                self._found(number, "sums", _difference(held[row], wanted[row]), names[ordinal])
                for row, ordinal in zip(rows.tolist(), ordinals, strict=True)
            ]
        )


def malformed(records: Records) -> NDArray[np.bool_]:
    """(n,): records with numbers that are not finite, or that contradict each other."""
    unvisited = records["visits"] == 0
    empty = empty_records(1)[0].tobytes()
    wrong = np.zeros(len(records), dtype=np.bool_)
    for row in np.flatnonzero(unvisited):
        wrong[row] = records[row].tobytes() != empty
    for field in RECORD.names or ():
        if RECORD[field].kind == "f" and not field.startswith("alignment"):
            wrong |= ~np.isfinite(records[field])
    for counted in ("alignments", "turns"):
        wrong |= records[counted] > records["visits"]
    wrong |= np.isnan(records["alignment"]) != (records["alignments"] == 0)
    return wrong | (records["grad_norm_sum"] < 0)


def _difference(held: np.void, wanted: np.void) -> str:
    parts = [
        f"{field} is {held[field]}, its visits make {wanted[field]}"
        for field in RECORD.names or ()
        if held[field].tobytes() != wanted[field].tobytes()
    ]
    return "; ".join(parts)


def _told(ledger: Ledger) -> str:
    return f"fence {ledger.fence}, run {ledger.run}, step {ledger.step}"
