"""What is done in the background: tables compacted, old versions dropped, what was deleted made to vanish.

A round bears being done twice, by two processes at once, and being killed anywhere.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from datetime import timedelta

from app.contracts import Dataset, now
from app.errors import GradSiftError, NotFound
from app.ingest.event_retention import look_after_events
from app.logs import get_logger
from app.services.jobs_left import KEPT_AFTER_END
from app.services.purging import purge_deleted
from app.settings import Settings
from app.store.leftovers import remove_leftovers
from app.store.state import State
from app.store.tally import COMPACTIONS
from app.store.turn import housekeeping_turn
from app.store.upkeep import TableUpkeep

LEFTOVERS_SECONDS = 3600.0
log = get_logger(__name__)


class Housekeeper:
    """Of one process: remembers what it has seen to, so that a round costs little where nothing changed."""

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._kept_for = timedelta(seconds=settings.versions_kept_seconds)
        self._cleaned: dict[str, float] = {}
        self._leftovers_at = 0.0

    def round(self) -> bool:
        """False where another process keeps house just now."""
        with housekeeping_turn(self._state.client, self._state.keys) as mine:
            if not mine:
                return False
            for name in self._state.datasets.names():
                self._look_after(name)
            if time.monotonic() >= self._leftovers_at:
                remove_leftovers(self._settings.data_url)
                self._look_after_events()
                self._leftovers_at = time.monotonic() + LEFTOVERS_SECONDS
        return True

    def _look_after_events(self) -> None:
        try:
            look_after_events(self._state)
        except (GradSiftError, OSError) as error:
            log.warning("old events are deleted later", error=str(error))

    def _look_after(self, name: str) -> None:
        dataset = self._state.datasets.find(name)
        if dataset is None:
            return
        try:
            self._tidy(dataset)
        except NotFound:
            return  # deleted meanwhile
        except (GradSiftError, OSError) as error:  # a writer was quicker, say; there is another round
            log.warning("a dataset is looked after later", dataset=name, error=str(error))

    def _tidy(self, dataset: Dataset) -> None:
        state = self._state

        def writing() -> AbstractContextManager[None]:
            return state.datasets.writing(dataset)

        samples = state.samples.upkeep(dataset, writing)
        reviews = state.reviews.upkeep(dataset, writing)
        self._free_pins(dataset, samples)
        tables = [samples] if reviews is None else [samples, reviews]
        for table in tables:
            if table.compact_if_needed():
                state.tally.add(COMPACTIONS)
                log.info("a table was compacted", dataset=dataset.name)
        for table, at in zip(tables, ("samples", "reviews"), strict=False):
            self._clean(f"{dataset.uid}:{at}", table)
        purge_deleted(state, dataset, samples, reviews, self._kept_for)

    def _clean(self, key: str, table: TableUpkeep) -> None:
        """Not at every round: it reads every version that is kept."""
        due = self._cleaned.get(key, 0.0) + self._settings.versions_kept_seconds / 10
        if time.monotonic() >= due:
            freed = table.drop_versions(self._kept_for)
            self._cleaned[key] = time.monotonic()
            if freed:
                log.info("old versions were dropped", table=key, freed_bytes=freed)

    def _free_pins(self, dataset: Dataset, samples: TableUpkeep) -> None:
        """Versions that are kept for jobs which have ended, or never were."""
        for tag in samples.tags():
            if tag.startswith("job_") and self._ended(tag):
                self._state.samples.unpin(dataset, tag)

    def _ended(self, job_id: str) -> bool:
        try:
            job = self._state.jobs.get(job_id)
        except NotFound:
            return True
        return job.finished_at is not None and now() - job.finished_at > KEPT_AFTER_END
