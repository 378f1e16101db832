"""All stores of one process, over one Redis client and one data URL."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from app.settings import Settings
from app.store.archive import Archive
from app.store.connections import connect, make_durable
from app.store.datasets import DatasetStore
from app.store.ids import IdStore
from app.store.jobs import JobStore
from app.store.journal import WriteJournal
from app.store.keys import Keys
from app.store.responses import ResponseStore
from app.store.samples import SampleStore
from app.store.scores import ScoreStore
from app.store.sets import SetStore


@dataclass(frozen=True)
class State:
    client: redis.Redis
    keys: Keys
    datasets: DatasetStore
    ids: IdStore
    samples: SampleStore
    scores: ScoreStore
    sets: SetStore
    jobs: JobStore
    responses: ResponseStore
    journal: WriteJournal
    archive: Archive

    def make_durable(self) -> None:
        """Returns when everything written so far would survive a power cut."""
        make_durable(self.client, self.keys.fsync_marker)

    def close(self) -> None:
        self.client.close()


def open_state(settings: Settings, *, outage_seconds: float = 1.0) -> State:
    """Opens the stores; `outage_seconds` is how long a call waits for a Redis that is away."""
    client = connect(settings.redis_url, outage_seconds=outage_seconds)
    keys = Keys(settings.key_prefix)
    return State(
        client=client,
        keys=keys,
        datasets=DatasetStore(client, keys),
        ids=IdStore(client, keys),
        samples=SampleStore(settings.data_url),
        scores=ScoreStore(client, keys),
        sets=SetStore(client, keys, settings.set_versions_kept),
        jobs=JobStore(client, keys),
        responses=ResponseStore(settings.data_url),
        journal=WriteJournal(client, keys),
        archive=Archive(client, keys, settings.data_url),
    )
