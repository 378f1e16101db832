"""What the event loop remembers of a dataset, and how it learns that this is out of date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.store.exchange import Exchange
from app.store.ids import segments_of
from app.store.keys import DatasetKeys, Keys
from app.store.layout import STATE_FORMAT, other_format
from app.store.wire import pack

_META = ("name", "format", "lineage", "set_version", "next_ordinal")


@dataclass(frozen=True)
class Known:
    """A dataset as the registry, its meta and its versions had it at one moment.

    Keys are made of it, so an answer holds only if `confirmed_by` what the server says afterwards.
    """

    keys: DatasetKeys
    replies: Sequence[Any]
    """To the commands of `question`."""
    question: bytes
    segments: tuple[int, ...]
    """Of the index, the one with the most ids first."""

    QUESTION_COMMANDS = 3

    @cached_property
    def lineage(self) -> str | None:
        lineage: bytes | None = self.replies[1][2]
        return None if lineage is None else lineage.decode()

    @cached_property
    def version(self) -> int | None:
        return _version(self.replies[1])

    @cached_property
    def description(self) -> bytes | None:
        """Of the current set version."""
        description: bytes | None = self.replies[2]
        return description

    def confirmed_by(self, replies: Sequence[Any]) -> bool:
        if replies == self.replies:
            return True
        return self._but_ordinals(replies) == self._but_ordinals(self.replies) and (
            _segments(replies[1]) == self.segments
        )

    @staticmethod
    def _but_ordinals(replies: Sequence[Any]) -> list[Any]:
        uid, meta, description = replies
        return [uid, meta[:-1], description]


class KnownDatasets:
    """By their names; one is asked for once, and again when an answer did not confirm what is known."""

    def __init__(self, exchange: Exchange, keys: Keys) -> None:
        self._exchange = exchange
        self._keys = keys
        self._known: dict[str, Known] = {}

    async def get(self, name: str, give_up_at: float) -> Known | None:
        """As `learn`, but it may be out of date."""
        return self._known.get(name) or await self.learn(name, give_up_at)

    async def learn(self, name: str, give_up_at: float) -> Known | None:
        """None where there is no dataset of that name.

        Raises:
            Conflict: its score state has another format.
        """
        self._known.pop(name, None)
        registered = pack(("HGET", self._keys.datasets, name))
        (uid,) = await self._exchange(registered, 1, give_up_at=give_up_at)
        if uid is None:
            return None
        keys = self._keys.dataset(uid.decode())
        asked = pack(("HMGET", keys.meta, *_META))
        (meta,) = await self._exchange(asked, 1, give_up_at=give_up_at)
        if meta[0] is None:
            return None
        if int(meta[1] or 1) != STATE_FORMAT:
            raise other_format(int(meta[1] or 1))
        shown = pack(("HGET", keys.versions, _version(meta) or 0))
        (description,) = await self._exchange(shown, 1, give_up_at=give_up_at)
        known = Known(keys, [uid, meta, description], registered + asked + shown, _segments(meta))
        self._known[name] = known
        return known


def _version(meta: Sequence[bytes | None]) -> int | None:
    return None if meta[3] is None else int(meta[3])


def _segments(meta: Sequence[bytes | None]) -> tuple[int, ...]:
    return tuple(segments_of(int(meta[4] or 0)))
