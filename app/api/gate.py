"""A bound on how many are at work at once, with a short wait in which datasets take turns."""

from __future__ import annotations

import asyncio
import time
from collections import deque

Waiting = deque["asyncio.Future[bool]"]
NEWEST_SHARE = 0.2
"""Of the newest interval in the average of those at which places fall free."""


class Gate:
    """Of one process; to be used on its event loop.

    Whoever finds it full waits, but not for long and not in any number: a queue that is never empty makes
    everyone slow and nobody served sooner. A place that falls free goes to the dataset that has the fewest;
    where the queue is full, the dataset with the longest part of it makes room for one with a shorter.

    Args:
        places: how many may be inside.
        waiting: how many may wait; fewer where the last would wait too long, at the pace places fall free at.
        seconds: how long each of them may wait.
        least: places that are left however much it shrinks.
        most_of_one: how many places one dataset may have; all of them when left out. For those who stay long.
    """

    def __init__(
        self, places: int, *, waiting: int, seconds: float, most_of_one: int | None = None, least: int = 1
    ) -> None:
        self.places = self._all_places = places
        self.taken = 0
        self._most_of_one = places if most_of_one is None else most_of_one
        self._room = self._all_room = waiting
        self._least = least
        self._seconds = seconds
        self._inside: dict[str, int] = {}
        self._queues: dict[str, Waiting] = {}
        self._waiting = 0
        self._pace = 0.0
        """Seconds from one place that falls free to the next while all are taken, on average."""
        self._full_since = 0.0
        """Since when all are taken, or since when the last one was that fell free."""

    def shrink_to(self, share: float) -> None:
        """Of the places, and of the room to wait."""
        self.places = min(self._all_places, max(self._least, round(self._all_places * share)))
        self._room = min(self._all_room, max(self._least, round(self._all_room * share)))

    def turns_away(self, dataset: str) -> bool:
        """Whether there is no place for it now, and none to wait in either."""
        waits = self._has_room() or self._who_gives_way_to(dataset) is not None
        return self.taken >= self.places and not waits

    def enter(self, dataset: str) -> bool:
        """Takes a place that is free now, unless somebody waits for it."""
        if self.taken >= self.places or self._waiting:
            return False
        if self._inside.get(dataset, 0) >= self._most_of_one:
            return False
        self._take(dataset)
        return True

    async def wait(self, dataset: str) -> bool:
        """After `enter` said no: whether a place fell free in time."""
        if not self._make_room(dataset):
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._queues.setdefault(dataset, deque()).append(turn)
        self._waiting += 1
        self._call()
        timer = loop.call_later(self._seconds, self._give_up, dataset, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave(dataset)
            else:
                self._drop(dataset, turn)
            raise
        finally:
            timer.cancel()

    def leave(self, dataset: str) -> None:
        """Gives the place back."""
        if self.taken >= self.places:
            now = time.monotonic()
            self._pace += NEWEST_SHARE * (min(now - self._full_since, self._seconds) - self._pace)
            self._full_since = now
        self.taken -= 1
        inside = self._inside[dataset] - 1
        if inside:
            self._inside[dataset] = inside
        else:
            del self._inside[dataset]
        if self._waiting:
            self._call()

    def _call(self) -> None:
        """Lets in whose turn it is, while there are places."""
        while self.taken < self.places:
            ready = [name for name in self._queues if self._inside.get(name, 0) < self._most_of_one]
            if not ready:
                return
            name = min(ready, key=lambda name: self._inside.get(name, 0))
            queue = self._queues.pop(name)
            turn = queue.popleft()
            if queue:
                self._queues[name] = queue  # behind the others, for those with as many places
            self._waiting -= 1
            self._take(name)
            turn.set_result(True)

    def _take(self, dataset: str) -> None:
        self.taken += 1
        self._inside[dataset] = self._inside.get(dataset, 0) + 1
        if self.taken >= self.places:
            self._full_since = time.monotonic()

    def _make_room(self, dataset: str) -> bool:
        if self._has_room():
            return True
        longest = self._who_gives_way_to(dataset)
        if longest is None:
            return False
        self._give_up(longest, self._queues[longest][-1])
        return True

    def _has_room(self) -> bool:
        """For one more. Who could only wait in vain is refused at once instead; one may always wait."""
        soon_enough = self._waiting == 0 or (self._waiting + 1) * self._pace <= self._seconds
        return soon_enough and self._waiting < self._room

    def _who_gives_way_to(self, dataset: str) -> str | None:
        """The dataset with the longest part of the queue, where it is longer than this one's would be."""
        if not self._queues:
            return None
        longest = max(self._queues, key=lambda name: len(self._queues[name]))
        shorter = len(self._queues.get(dataset, ())) + 1 < len(self._queues[longest])
        return longest if shorter else None

    def _give_up(self, dataset: str, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._drop(dataset, turn)
            turn.set_result(False)

    def _drop(self, dataset: str, turn: asyncio.Future[bool]) -> None:
        queue = self._queues.get(dataset, deque())
        if turn in queue:
            queue.remove(turn)
            self._waiting -= 1
            if not queue:
                del self._queues[dataset]
