"""Scores for an event loop: look-ups of many requests travel together, one round trip for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from app.errors import NotFound
from app.store.exchange import Command, Exchange
from app.store.keys import Keys
from app.store.scores import LOOKUP_SCRIPT, Lookup, lookup_call, read_lookup
from app.store.scripts import raise_refusal, script_digest, script_source

MOST_IDS_TOGETHER = 250
"""Look-ups are gathered up to so many ids; a larger one travels alone."""


@dataclass(frozen=True)
class LookupAnswer:
    """What the look-up script answered about `ids`, still packed."""

    ids: Sequence[str]
    packed: Sequence[Any]
    """Two values about the dataset, then two for each id."""

    def part(self, start: int, stop: int) -> LookupAnswer:
        if start == 0 and stop >= len(self.ids):
            return self
        packed = [*self.packed[:2], *self.packed[2 + 2 * start : 2 + 2 * stop]]
        return LookupAnswer(self.ids[start:stop], packed)

    def read(self) -> Lookup:
        return read_lookup(self.ids, self.packed)


@dataclass
class _Batch:
    """Look-ups of one dataset that leave together; others may join until its turn on the connection comes."""

    name: str
    give_up_at: float
    ids: list[str] = field(default_factory=list)
    answer: asyncio.Task[LookupAnswer | None] | None = None


class Lookups:
    """`ScoreStore.lookup` by the dataset's name, for concurrent requests of one event loop.

    While one pipeline is under way the next one fills, so the busier the service is, the less a look-up
    costs. In the same round trip Redis is asked which dataset has the name now, so a uid that is remembered
    here cannot outlive its dataset.
    """

    def __init__(self, url: str, keys: Keys, *, outage_seconds: float) -> None:
        self._exchange = Exchange(url)
        self._keys = keys
        self._outage_seconds = outage_seconds
        self._turn = asyncio.Lock()
        self._filling: dict[str, _Batch] = {}
        self._uids: dict[str, str] = {}
        self._source = script_source(LOOKUP_SCRIPT)
        self._digest = script_digest(LOOKUP_SCRIPT)

    async def ask(self, name: str, ids: Sequence[str]) -> LookupAnswer | None:
        """None where there is no dataset of that name.

        Raises:
            Conflict: its score state has another format.
            ConnectionError, TimeoutError, BusyLoadingError: Redis was away for the time of an outage.
        """
        batch = self._filling.get(name)
        if batch is None or len(batch.ids) + len(ids) > MOST_IDS_TOGETHER:
            batch = self._filling[name] = _Batch(name, time.monotonic() + self._outage_seconds)
            batch.answer = asyncio.create_task(self._answer(batch))
        start = len(batch.ids)
        batch.ids += ids
        assert batch.answer is not None
        # A request that is cancelled leaves alone: the others of its batch get their answer.
        answer = await asyncio.shield(batch.answer)
        return None if answer is None else answer.part(start, start + len(ids))

    async def close(self) -> None:
        await self._exchange.close()

    async def _answer(self, batch: _Batch) -> LookupAnswer | None:
        async with self._turn:
            if self._filling.get(batch.name) is batch:
                del self._filling[batch.name]
            remembered = self._uids.get(batch.name)
            answer = None if remembered is None else await self._ask(remembered, batch)
            if answer is not None:
                return answer
            uid = await self._find(batch)
            return None if uid is None else await self._ask(uid, batch)

    async def _find(self, batch: _Batch) -> str | None:
        (uid,) = await self._send(batch, self._registered(batch.name))
        if uid is None:
            return None
        self._uids[batch.name] = uid.decode()
        return self._uids[batch.name]

    async def _ask(self, uid: str, batch: _Batch) -> LookupAnswer | None:
        """None where that dataset is gone, or does not have the name any more."""
        keys, arguments = lookup_call(self._keys.dataset(uid), batch.ids)
        try:
            now, packed = await self._run(batch, (len(keys), *keys, *arguments))
        except NotFound:
            now, packed = None, ()
        if now == uid.encode():
            return LookupAnswer(batch.ids, packed)
        del self._uids[batch.name]
        return None

    async def _run(self, batch: _Batch, operands: Command) -> list[Any]:
        """The uid that the name has now, and what the script answers."""
        registered = self._registered(batch.name)
        try:
            return await self._send(batch, registered, ("EVALSHA", self._digest, *operands))
        except NoScriptError:  # the server was started anew
            return await self._send(batch, registered, ("EVAL", self._source, *operands))
        except ResponseError as refusal:
            raise_refusal(refusal)
            raise

    def _registered(self, name: str) -> Command:
        return ("HGET", self._keys.datasets, name)

    async def _send(self, batch: _Batch, *commands: Command) -> list[Any]:
        return await self._exchange(commands, give_up_at=batch.give_up_at)
