"""Events that are older than their dataset keeps them."""

from __future__ import annotations

from datetime import timedelta

from app.contracts import Dataset, now
from app.logs import get_logger
from app.store.state import State

log = get_logger(__name__)


def forget_old_events(state: State, dataset: Dataset) -> int:
    """Deletes a dataset's events that are over `event_retention_days` old; how many those were.

    Samples that were made of them stay until the next label job, which no longer makes them.
    """
    days = dataset.settings.event_retention_days
    if days is None:
        return 0
    with state.datasets.writing(dataset):
        forgotten = state.events.delete_before(dataset, now() - timedelta(days=days))
    if forgotten:
        log.info("old events are deleted", dataset=dataset.name, events=forgotten, days=days)
    return forgotten


def look_after_events(state: State) -> None:
    """What the service does every hour: retention, and versions that nobody reads any more."""
    for name in state.datasets.names():
        dataset = state.datasets.find(name)
        if dataset is not None:
            forget_old_events(state, dataset)
            with state.datasets.writing(dataset):
                for table in state.events.tables.values():
                    table.clean_up(dataset)
