"""Stores a batch, and counts right what an attempt that died may have stored of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from app.contracts import Dataset
from app.ingest.rows import SampleRow
from app.ingest.writing import Checked, Ingest
from workers.ground import Ground
from workers.score.room import when_there_is_room
from workers.storing.position import Content, Position, Positions, Rejection

CHECKED_AT_ONCE = 500
Decoded = Callable[[], SampleRow]
"""Raises RowError for a row that is none."""


class BatchStorer:
    """Between two batches nothing is remembered, so that memory does not grow with what is stored. An id that
    comes again replaces the row before, as it does when it is sent in a later request."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._positions = Positions(ground.artifacts, ground.claim.token)

    def position(self) -> Position:
        """Where this attempt goes on."""
        return self._positions.load()

    def save(self, position: Position) -> None:
        """Waits while the disk is full."""
        when_there_is_room(self._ground.lease, lambda: self._positions.save(position))

    def store(
        self, dataset: Dataset, position: Position, rows: Sequence[Decoded], *, file: str = ""
    ) -> Position:
        """Answers the position after the rows, which are then durable.

        file: where they come from, for those that are rejected.
        """
        ingest = Ingest(self._ground.state, self._ground.settings, dataset)
        checked = []
        for number, decode in enumerate(rows):
            if number % CHECKED_AT_ONCE == 0:
                self._ground.lease.check()
            one = ingest.check(decode)
            if one is not None:
                checked.append(one)
        before = self._contents(dataset, checked) | position.before
        self.save(position.about_to_store(before))
        wrong = [
            Rejection(file, position.row + item["index"] + 1, item["id"], item["code"], item["detail"])
            for item in ingest.report.rejected
        ]
        counts = replace(position.counts)
        counts.received += len(rows)
        counts.rejected_total += ingest.report.rejected_total
        held = dict(before)
        for wave in _waves(checked):
            refused = self._ground.store(dataset, wave).rejected
            wrong += [
                Rejection(file, position.row + at + 1, error.sample_id, error.code, error.detail)
                for at, error in refused
            ]
            counts.rejected_total += len(refused)
            refused_at = {at for at, _ in refused}
            for one in wave:
                if one.at not in refused_at:
                    content = (one.content, one.attributes)
                    counts.changed_from(held.get(one.row.id), content)
                    held[one.row.id] = content
        return position.after_batch(len(rows), counts, sorted(wrong, key=lambda one: one.row))

    def _contents(self, dataset: Dataset, checked: Sequence[Checked]) -> dict[str, Content]:
        ids = list(dict.fromkeys(one.row.id for one in checked))
        entries = self._ground.state.ids.entries(dataset, ids)
        return {
            sample_id: None if entry is None or not entry.stored else (entry.content, entry.attributes)
            for sample_id, entry in zip(ids, entries, strict=True)
        }


def _waves(checked: Sequence[Checked]) -> list[list[Checked]]:
    """In each an id once, in the order of the rows."""
    waves: list[list[Checked]] = []
    seen: dict[str, int] = {}
    for one in checked:
        wave = seen.get(one.row.id, -1) + 1
        seen[one.row.id] = wave
        if wave == len(waves):
            waves.append([])
        waves[wave].append(one)
    return waves
