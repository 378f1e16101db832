"""Pages of set versions for an event loop, in plain commands: what `SetStore` reads in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from app.contracts import SetName, SetVersion
from app.store.exchange import Exchange
from app.store.known import Known, KnownDatasets
from app.store.layout import ENTRY, MEMBER, MEMBERS_A_CHUNK
from app.store.packed import CELLS, ENTRIES
from app.store.sets import Member, valid_members, version_and_rows, version_fields
from app.store.wire import pack


@dataclass(frozen=True)
class OpenVersion:
    """A set version as it was found.

    Args:
        held: with the sizes that are left of it.
        rows: how many rows each set has, members that are void by now included.
    """

    held: SetVersion
    rows: Mapping[str, int]
    known: Known
    give_up_at: float


class Pages:
    """`SetStore.version_and_rows` and `SetStore.members` by the dataset's name."""

    def __init__(self, exchange: Exchange, known: KnownDatasets) -> None:
        self._exchange = exchange
        self._known = known

    async def open(self, name: str, number: int | None) -> OpenVersion | None:
        """A version, the current one by default; None where there is none, or no dataset of that name.

        Raises:
            Conflict: the dataset's score state has another format.
            ConnectionError, TimeoutError, BusyLoadingError: Redis was away for the time of an outage.
        """
        give_up_at = self._exchange.give_up_at()
        known = await self._known.get(name, give_up_at)
        while known is not None:
            wanted = (known.version or 0) if number is None else number
            packed = pack(("HMGET", known.keys.versions, *version_fields(wanted))) + known.question
            held, *confirmation = await self._exchange(
                packed, 1 + Known.QUESTION_COMMANDS, give_up_at=give_up_at
            )
            if known.confirmed_by(confirmation):
                if held[0] is None:
                    return None
                return OpenVersion(*version_and_rows(wanted, held), known, give_up_at)
            known = await self._known.learn(name, give_up_at)
        return None

    async def members(self, opened: OpenVersion, set_name: SetName, first: int, last: int) -> list[Member]:
        """The valid members among rows `first` … `last` (inclusive) of the set's order."""
        keys, version = opened.known.keys, opened.held.version
        stretches = []
        for chunk in range(first // MEMBERS_A_CHUNK, last // MEMBERS_A_CHUNK + 1):
            start = chunk * MEMBERS_A_CHUNK
            begin, end = max(first - start, 0), min(last + 1 - start, MEMBERS_A_CHUNK)
            key = keys.members(version, set_name, start)
            stretches.append(("GETRANGE", key, begin * MEMBER.itemsize, end * MEMBER.itemsize - 1))
        raw = b"".join(await self._send(opened, pack(*stretches), len(stretches)))
        ordinals: list[int] = np.frombuffer(raw, dtype=MEMBER).tolist()
        # An entry is read after the cell: if it has the cell's generation still, the member is valid.
        packed = CELLS.ask(keys.column_prefix(version), ordinals) + ENTRIES.ask(
            keys.entries_prefix(), ordinals
        )
        replies = iter(await self._send(opened, packed.encode(), 2 * len(ordinals)))
        cells: list[bytes] = list(islice(replies, len(ordinals)))
        entries: list[bytes | None] = list(replies)
        rows = [
            cell + entry[ENTRY.size :] if entry is not None and cell[:2] == entry[:2] else b""
            for cell, entry in zip(cells, entries, strict=True)
        ]
        return list(valid_members(ordinals, rows, first))

    async def _send(self, opened: OpenVersion, packed: bytes, count: int) -> list[Any]:
        return await self._exchange(packed, count, give_up_at=opened.give_up_at)
