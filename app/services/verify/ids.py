"""Ids to ordinals and back, generations and digests: against the stored samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.contracts import Dataset
from app.services.verify.findings import Finding, Findings, confirmed, shortened
from app.store.content import ENTRY_COLUMNS, entry_of
from app.store.ids import IdEntry, index_place
from app.store.inspection import Inspection
from app.store.state import State

BLOCK = 4_096
"""Ordinals looked at together, with their texts."""


def check_ids(state: State, inspection: Inspection, dataset: Dataset) -> Iterator[Findings]:
    """Findings, block by block."""

    def of_block(first: int) -> Findings:
        rows = state.samples.between(dataset, first, first + BLOCK, ENTRY_COLUMNS)
        stored = {row["id"]: entry_of(row) for row in rows}
        return _of_block(state, inspection, dataset, stored, first)

    given = state.datasets.next_ordinal(dataset)
    for start in range(0, given, BLOCK):
        yield confirmed(state, dataset, lambda start=start: of_block(start))  # type: ignore[misc]
    yield confirmed(state, dataset, lambda: _beyond(state, dataset))
    yield confirmed(state, dataset, lambda: _astray(state, inspection, dataset))


def _of_block(
    state: State, inspection: Inspection, dataset: Dataset, stored: Mapping[str, IdEntry], first: int
) -> Findings:
    found: Findings = []
    keys = state.keys.dataset(dataset.uid)

    def find(check: str, key: str, sample: str, detail: str) -> None:
        found.append(Finding(check, detail, dataset.name, key, sample))

    held = inspection.entries(dataset, first, first + BLOCK)
    led_to = state.ids.entries(dataset, list(stored))
    for (sample_id, wanted), entry in zip(stored.items(), led_to, strict=True):
        name, there = held.pop(wanted.ordinal, (None, None))
        if name != sample_id or there is None:
            told = "nothing" if name is None else repr(name)
            detail = f"ordinal {wanted.ordinal} leads to {told}"
            find("ids", keys.entries(wanted.ordinal), sample_id, detail)
        elif there != wanted:
            find("ids", keys.entries(wanted.ordinal), sample_id, _difference(there, wanted))
        if entry is None or entry.ordinal != wanted.ordinal:
            told = "nothing" if entry is None else f"ordinal {entry.ordinal}"
            detail = f"the id leads to {told}, not to its ordinal {wanted.ordinal}"
            find("index", keys.index_prefix(), sample_id, detail)
    for ordinal, (sample_id, _) in held.items():
        detail = f"ordinal {ordinal} leads to an id, but no sample has that ordinal"
        find("ids", keys.entries(ordinal), sample_id, detail)
    return shortened(found)


def _difference(entry: IdEntry, wanted: IdEntry) -> str:
    parts = [
        f"{field} {held} instead of {right}"
        for field, held, right in zip(entry._fields, entry, wanted, strict=True)
        if held != right
    ]
    return f"the entry has {', '.join(parts)}"


def _beyond(state: State, dataset: Dataset) -> Findings:
    """Ordinals that were given, though the counter does not know of them."""
    given = state.datasets.next_ordinal(dataset)
    highest = state.samples.highest_ordinal(dataset)
    if highest < given:
        return []
    detail = f"next_ordinal is {given}, but a sample has ordinal {highest}: it would be given again"
    return [Finding("ordinals", detail, dataset.name, state.keys.dataset(dataset.uid).meta)]


def _astray(state: State, inspection: Inspection, dataset: Dataset) -> Findings:
    """Places of the index that lead nowhere. All samples have theirs, so it is enough to count, until it is
    not."""
    given = state.datasets.next_ordinal(dataset)
    if sum(1 for _ in inspection.pointers(dataset, given)) == state.samples.count(dataset):
        return []
    found: Findings = []
    for key, mark, ordinal in inspection.pointers(dataset, given):
        name = state.ids.names(dataset, [ordinal])[0]
        if name is None or index_place(name[1], ordinal) != (key.rpartition(":i:")[2], mark):
            detail = f"the index leads to ordinal {ordinal}, where no id of its kind is"
            found.append(Finding("index", detail, dataset.name, key, None if name is None else name[1]))
    return shortened(found)
