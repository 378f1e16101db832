"""The look-up of many ids in plain commands: what to ask, and what the replies mean. Sends nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from app.store.ids import crcs_of
from app.store.known import Known
from app.store.layout import ENTRY
from app.store.packed import CELLS, ENTRIES, RECORDS, ask_index
from app.store.scores import NO_CELL, NO_RECORD, Lookup
from app.store.sets import read_version

_NEVER_STORED, _NO_VISITS = bytes(8), bytes(2)


class PlainLookup:
    """What the look-up script does, in turns of two questions: the index is asked, and then what it leads to.

    An entry is read after the record and the cell that go with it: if it still has their generation, they are
    of the sample's content; if not, there was a moment when the content had none.
    """

    def __init__(self, known: Known, ids: Sequence[str]) -> None:
        self._known = known
        self._ids = ids
        self._encoded = [sample_id.encode() for sample_id in ids]
        self._crcs = crcs_of(self._encoded)
        self._left: Sequence[int] = range(len(ids))  # positions of ids that are not found yet
        self._hits: list[int] = []  # positions of ids that may have the ordinals beside them
        self._ordinals: list[int] = []
        self._packed: list[bytes | None] = [None] * len(ids)

    @property
    def complete(self) -> bool:
        return not self._left

    def answer(self) -> Lookup:
        known = self._known
        version = read_version(known.description) if known.description else None
        return Lookup(known.lineage, version, self._ids, self._packed)

    def ask_index(self, segments: Sequence[int]) -> tuple[bytes, int]:
        """Commands, and how many."""
        prefix, crcs = self._known.keys.index_prefix(), [self._crcs[at] for at in self._left]
        packed = "".join([ask_index(prefix, segment, crcs) for segment in segments])
        return packed.encode(), len(segments) * len(crcs)

    def take_index(self, replies: Sequence[bytes | None]) -> None:
        self._hits, self._ordinals = [], []
        for start in range(0, len(replies), len(self._left) or 1):
            for at, held in zip(self._left, replies[start : start + len(self._left)], strict=True):
                if held is not None:
                    for ordinal in held.split(b","):  # one alone, nearly always
                        self._hits.append(at)
                        self._ordinals.append(int(ordinal))

    def ask_items(self) -> tuple[bytes, int]:
        """Commands, and how many."""
        known, ordinals = self._known, self._ordinals
        parts = [
            "" if known.lineage is None else RECORDS.ask(known.keys.shard_prefix(known.lineage), ordinals),
            "" if known.version is None else CELLS.ask(known.keys.column_prefix(known.version), ordinals),
            ENTRIES.ask(known.keys.entries_prefix(), ordinals),
        ]
        count = sum(1 for part in parts if part) * len(ordinals) + Known.QUESTION_COMMANDS
        return "".join(parts).encode() + known.question, count

    def take_items(self, replies: Sequence[Any]) -> bool:
        """False where the dataset is not as it was known: these replies count for nothing."""
        known, count = self._known, len(self._hits)
        if not known.confirmed_by(replies[-Known.QUESTION_COMMANDS :]):
            return False
        told, nothing = iter(replies), [b""] * count
        records = nothing if known.lineage is None else list(islice(told, count))
        cells = nothing if known.version is None else list(islice(told, count))
        for at, record, cell, entry in zip(self._hits, records, cells, islice(told, count), strict=True):
            if entry is None or entry[ENTRY.size :] != self._encoded[at] or entry[2:10] == _NEVER_STORED:
                continue
            generation = entry[:2]
            recorded = record[:2] == generation and record[2:4] != _NO_VISITS
            placed = cell[:2] == generation
            self._packed[at] = (record if recorded else NO_RECORD) + (cell if placed else NO_CELL)
        self._left = [at for at in self._left if self._packed[at] is None]
        return True
