"""Samples that were deleted, and whose traces in files are not all gone yet: a note for each.

The table forgets a deleted row at once, its files do not: they are never changed, and old versions stay while
somebody may read them. A note stands from before the deletion until nothing is left.
"""

from __future__ import annotations

import time

import msgspec

from app.store.artifacts import Folder

_FOLDER = "deleted"


class Deletion(msgspec.Struct, frozen=True):
    """samples_from, reviews_from: the version from which on the table's files do not hold it; None: not yet.
    since: jobs that were sent before then may still write of it."""

    id: str
    ordinal: int
    at: float
    since: float
    samples_from: int | None = None
    reviews_from: int | None = None
    outputs_clean: bool = False


class DeletionNotes:
    """Of one dataset, among the files of its archive."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def add(self, sample_id: str, ordinal: int) -> None:
        now = time.time()
        self.save(Deletion(sample_id, ordinal, now, now))

    def save(self, deletion: Deletion) -> None:
        self._folder.write(f"{_FOLDER}/{deletion.ordinal}.json", msgspec.json.encode(deletion))

    def remove(self, deletion: Deletion) -> None:
        self._folder.remove(f"{_FOLDER}/{deletion.ordinal}.json")

    def all(self) -> list[Deletion]:
        names = Folder(f"{self._folder.location}/{_FOLDER}").names()
        held = (self._folder.read(f"{_FOLDER}/{name}") for name in names)
        return [msgspec.json.decode(content, type=Deletion) for content in held if content]
