"""Scores for an event loop, in plain commands: look-ups of many requests travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.store.exchange import Exchange
from app.store.hints import OrdinalHints
from app.store.known import Known, KnownDatasets
from app.store.plain_lookup import PlainLookup
from app.store.scores import Lookup

MOST_IDS_TOGETHER = 250
"""Look-ups are gathered up to so many ids; a larger one travels alone."""
FEW_IDS = 32
"""So many are sought in all segments of the index at once: that saves turns for those not in the first."""
BATCHES_UNDER_WAY = 4


@dataclass
class _Batch:
    """Look-ups of one dataset that leave together; others may join until its turn on the connection comes."""

    name: str
    give_up_at: float
    loop: asyncio.AbstractEventLoop
    """Kept, because to ask for the running one takes a system call before Python 3.12."""
    ids: list[str] = field(default_factory=list)
    waiting: list[tuple[asyncio.Future[Lookup | None], int, int]] = field(default_factory=list)
    """Who asked for which part of the ids. Who is cancelled leaves alone: the others get their answer."""
    task: asyncio.Task[Lookup | None] | None = None
    """The event loop itself holds it weakly."""

    def join(self, ids: Sequence[str]) -> asyncio.Future[Lookup | None]:
        answer: asyncio.Future[Lookup | None] = self.loop.create_future()
        start = len(self.ids)
        self.ids += ids
        self.waiting.append((answer, start, len(self.ids)))
        return answer

    def tell(self, task: asyncio.Task[Lookup | None]) -> None:
        waiting = [one for one in self.waiting if not one[0].done()]
        if task.cancelled():
            for answer, _, _ in waiting:
                answer.cancel()
        elif (error := task.exception()) is not None:
            for answer, _, _ in waiting:
                answer.set_exception(error)
        else:
            found = task.result()
            for answer, start, stop in waiting:
                answer.set_result(None if found is None else found.part(start, stop))


class Lookups:
    """`ScoreStore.lookup` by the dataset's name, for concurrent requests of one event loop.

    While one pipeline is under way the next one fills, so the busier the service is, the less a look-up
    costs. What is remembered of the dataset is asked for again with every look-up, so it cannot outlive it.
    """

    def __init__(self, exchange: Exchange, known: KnownDatasets, hints: OrdinalHints) -> None:
        self._exchange = exchange
        self._known = known
        self._hints = hints
        self._turn = asyncio.Semaphore(BATCHES_UNDER_WAY)
        self._filling: dict[str, _Batch] = {}

    async def ask(self, name: str, ids: Sequence[str]) -> Lookup | None:
        """None where there is no dataset of that name.

        Raises:
            Conflict: its score state has another format.
            ConnectionError, TimeoutError, BusyLoadingError: Redis was away for the time of an outage.
        """
        batch = self._filling.get(name)
        if batch is None or len(batch.ids) + len(ids) > MOST_IDS_TOGETHER:
            loop = asyncio.get_running_loop()
            batch = self._filling[name] = _Batch(name, self._exchange.give_up_at(), loop)
            batch.task = loop.create_task(self._answer(batch))
            batch.task.add_done_callback(batch.tell)
        return await batch.join(ids)

    async def _answer(self, batch: _Batch) -> Lookup | None:
        async with self._turn:
            if self._filling.get(batch.name) is batch:
                del self._filling[batch.name]
            known = await self._known.get(batch.name, batch.give_up_at)
            while known is not None:
                answer = await self._read(known, batch)
                if answer is not None:
                    return answer
                known = await self._known.learn(batch.name, batch.give_up_at)
            return None

    async def _read(self, known: Known, batch: _Batch) -> Lookup | None:
        """None where the dataset is not as it was known: these replies count for nothing."""
        lookup, segments = PlainLookup(known, batch.ids, self._hints), known.segments
        few = lookup.without_hint <= FEW_IDS
        if not await self._seek(lookup, batch, segments if few else segments[:1]):
            return None
        others = segments if lookup.misled else () if few else segments[1:]
        if lookup.left and others and not await self._seek(lookup, batch, others):
            return None
        lookup.give_hints()
        return lookup.answer()

    async def _seek(self, lookup: PlainLookup, batch: _Batch, segments: Sequence[int]) -> bool:
        """Asks the index, and then what it leads to; False where the dataset is not as it was known."""
        confirmed = lookup.take(await self._send(batch, *lookup.ask(segments)))
        if confirmed and lookup.left:
            confirmed = lookup.take(await self._send(batch, *lookup.ask([])))
        return confirmed

    async def _send(self, batch: _Batch, packed: bytes, count: int) -> list[Any]:
        return await self._exchange(packed, count, give_up_at=batch.give_up_at)
