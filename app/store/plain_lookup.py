"""The look-up of many ids in plain commands: what to ask, and what the replies mean. Sends nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from app.store.hints import OrdinalHints
from app.store.ids import crcs_of
from app.store.known import Known
from app.store.layout import ENTRY
from app.store.packed import CELLS, ENTRIES, RECORDS, ask_index
from app.store.scores import NO_CELL, NO_RECORD, Lookup
from app.store.sets import read_version

_HEAD, _NEVER_STORED = ENTRY.size, bytes(8)


class PlainLookup:
    """What the look-up script does, in turns: the index is asked, and then what it leads to.

    What hints lead to is asked at once, and the index only for the other ids, and for those of wrong hints.

    An entry is read after the record and the cell that go with it: if it still has their generation, they are
    of the sample's content; if not, there was a moment when the content had none.
    """

    def __init__(self, known: Known, ids: Sequence[str], hints: OrdinalHints) -> None:
        self._known = known
        self._hints = hints
        self._ids = ids
        self._encoded = [sample_id.encode() for sample_id in ids]
        self._crcs = crcs_of(self._encoded)
        self._packed: list[bytes | None] = [None] * len(ids)
        self._found_at = [0] * len(ids)  # ordinals of those that are packed
        self._hinted = hints.of(known.keys.uid, self._crcs)
        self._hits = [at for at, ordinal in enumerate(self._hinted) if ordinal >= 0]  # positions of ids that
        self._ordinals = [ordinal for ordinal in self._hinted if ordinal >= 0]  # may have these ordinals
        self._left: Sequence[int] = range(len(ids))  # positions of ids that are not found yet
        self._sought: Sequence[int] = []  # positions of those that the index is being asked for
        self._index_replies = 0

    @property
    def left(self) -> int:
        """How many ids are not found yet."""
        return len(self._left)

    @property
    def without_hint(self) -> int:
        return self._hinted.count(-1)

    @property
    def misled(self) -> bool:
        """Whether a hint was wrong; after the first turn, the index has not been asked for its id yet."""
        return any(ordinal >= 0 and self._packed[at] is None for at, ordinal in enumerate(self._hinted))

    def answer(self) -> Lookup:
        known = self._known
        version = read_version(known.description) if known.description else None
        return Lookup(known.lineage, version, self._ids, self._packed)

    def give_hints(self) -> None:
        """For the next one, about what was not where this one's hints had it."""
        places = zip(self._crcs, self._packed, self._hinted, self._found_at, strict=True)
        new = ((crc, found_at) for crc, held, hinted, found_at in places if held and hinted != found_at)
        self._hints.keep(self._known.keys.uid, new)

    def ask(self, segments: Sequence[int]) -> tuple[bytes, int]:
        """Commands, and how many: what the hits lead to, and whom else these segments of the index know."""
        hits, prefix = set(self._hits), self._known.keys.index_prefix()
        self._sought = [at for at in self._left if at not in hits] if segments else []
        crcs = [self._crcs[at] for at in self._sought]
        index = "".join([ask_index(prefix, segment, crcs) for segment in segments])
        self._index_replies = len(segments) * len(crcs)
        items, count = self._ask_items() if hits or not index else (b"", 0)
        return index.encode() + items, self._index_replies + count

    def take(self, replies: Sequence[Any]) -> bool:
        """False where the dataset is not as it was known: these replies count for nothing."""
        index, items = replies[: self._index_replies], replies[self._index_replies :]
        if items and not self._take_items(items):
            return False
        self._take_index(index)
        return True

    def _take_index(self, replies: Sequence[bytes | None]) -> None:
        hits = [(at, held) for at, held in zip(cycle(self._sought), replies) if held is not None]
        self._hits = [at for at, _ in hits]
        try:
            self._ordinals = [int(held) for _, held in hits]
        except ValueError:  # several ids have the same mark
            several = [(at, int(ordinal)) for at, held in hits for ordinal in held.split(b",")]
            self._hits, self._ordinals = [at for at, _ in several], [ordinal for _, ordinal in several]

    def _ask_items(self) -> tuple[bytes, int]:
        """What the hits lead to, and whether the dataset is as it was known."""
        known, ordinals = self._known, self._ordinals
        parts = [
            "" if known.lineage is None else RECORDS.ask(known.keys.shard_prefix(known.lineage), ordinals),
            "" if known.version is None else CELLS.ask(known.keys.column_prefix(known.version), ordinals),
            ENTRIES.ask(known.keys.entries_prefix(), ordinals),
        ]
        count = sum(1 for part in parts if part) * len(ordinals) + Known.QUESTION_COMMANDS
        return "".join(parts).encode() + known.question, count

    def _take_items(self, replies: Sequence[Any]) -> bool:
        known, count = self._known, len(self._hits)
        if not known.confirmed_by(replies[-Known.QUESTION_COMMANDS :]):
            return False
        told, nothing, packed, found_at = iter(replies), [b""] * count, self._packed, self._found_at
        records = nothing if known.lineage is None else list(islice(told, count))
        cells = nothing if known.version is None else list(islice(told, count))
        asked = [self._encoded[at] for at in self._hits]
        entries = islice(told, count)
        for at, ordinal, sample_id, record, cell, entry in zip(
            self._hits, self._ordinals, asked, records, cells, entries, strict=True
        ):
            if entry is not None and entry[_HEAD:] == sample_id and entry[2:10] != _NEVER_STORED:
                generation = entry[:2]
                packed[at] = (record if record[:2] == generation else NO_RECORD) + (
                    cell if cell[:2] == generation else NO_CELL
                )
                found_at[at] = ordinal
        self._left = [at for at in self._left if packed[at] is None]
        return True
