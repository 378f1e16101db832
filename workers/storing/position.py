"""How far a job has come that stores samples: what every attempt goes on from.

Before a batch is stored, its place and what was counted so far are written, with the content that its ids had
before. An attempt that comes after one that died stores the batch again, which changes nothing where it was
stored already; whether a row was new or changed then is seen by comparing with before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from app.store.artifacts import ArtifactStore

REJECTIONS_SHOWN = 100
_NAME = re.compile(r"position-(\d+)\.json")
Content = tuple[int, int] | None
"""Digests of a sample's content and attributes; None where there is no such sample."""


class Rejection(msgspec.Struct, frozen=True):
    """row: its place in the file, from 1. file: empty where the rows come from none."""

    file: str
    row: int
    id: str | None
    code: str
    detail: str


@dataclass
class Counts:
    received: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected_total: int = 0

    def changed_from(self, before: Content, after: Content) -> None:
        """One row more that was stored."""
        self.created += before is None
        self.unchanged += before is not None and before == after
        self.updated += before is not None and before != after

    @property
    def stored(self) -> int:
        return self.created + self.updated + self.unchanged


@dataclass
class Position:
    """file: its number, from 0. row: rows of it that are settled. bytes_before: of the files before it.
    before: what the next batch's ids had, by id."""

    file: int = 0
    row: int = 0
    bytes_before: int = 0
    counts: Counts = field(default_factory=Counts)
    rejected: list[Rejection] = field(default_factory=list)
    before: dict[str, Content] = field(default_factory=dict)

    def after_batch(self, rows: int, counts: Counts, rejected: Sequence[Rejection]) -> Position:
        room = REJECTIONS_SHOWN - len(self.rejected)
        return replace(
            self, row=self.row + rows, counts=counts, rejected=[*self.rejected, *rejected[:room]], before={}
        )

    def in_the_next_file(self, bytes_read: int) -> Position:
        return replace(self, file=self.file + 1, row=0, bytes_before=self.bytes_before + bytes_read)

    def about_to_store(self, before: Mapping[str, Content]) -> Position:
        return replace(self, before=dict(before))


class Positions:
    """A file for each attempt: one of a worker that was replaced is never taken for the present one's."""

    def __init__(self, artifacts: ArtifactStore, token: int) -> None:
        self._artifacts = artifacts
        self._name = f"position-{token}.json"

    def load(self) -> Position:
        found = [match for match in map(_NAME.fullmatch, self._artifacts.names()) if match]
        if not found:
            return Position()
        newest = max(found, key=lambda match: int(match[1]))[0]
        return msgspec.json.decode(self._artifacts.read(newest) or b"", type=Position)

    def save(self, position: Position) -> None:
        self._artifacts.write(self._name, msgspec.json.encode(position))
