"""All stores of one process, over one Redis client and one data URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import redis

from app.settings import Settings
from app.store.api_keys import ApiKeyStore, AskedKeys, KeyArchive
from app.store.archive import Archive
from app.store.audit_sealing import Audit
from app.store.connections import connect
from app.store.datasets import DatasetStore
from app.store.durability import Durability
from app.store.events import EventStore
from app.store.exchange import Exchange
from app.store.flags import FlagStore
from app.store.given_answers import AnswerStore
from app.store.hints import OrdinalHints
from app.store.ids import IdStore
from app.store.jobs import JobStore
from app.store.journal import WriteJournal
from app.store.keys import Keys
from app.store.known import KnownDatasets
from app.store.lookups import Lookups
from app.store.pages import Pages
from app.store.prediction_desk import PredictionDesk
from app.store.prediction_queue import PredictionQueue
from app.store.responses import ResponseStore
from app.store.results import ResultStore
from app.store.reviews import ReviewStore
from app.store.samples import SampleStore
from app.store.scores import ScoreStore
from app.store.sets import SetStore
from app.store.splits import SplitStore
from app.store.tally import Tally
from app.store.worker_figures import WorkerFigures

T = TypeVar("T")


@dataclass(frozen=True)
class State:
    client: redis.Redis
    keys: Keys
    datasets: DatasetStore
    splits: SplitStore
    ids: IdStore
    samples: SampleStore
    reviews: ReviewStore
    events: EventStore
    scores: ScoreStore
    sets: SetStore
    lookups: Lookups
    pages: Pages
    exchange: Exchange
    """What look-ups and pages are read through, on an event loop; it is closed there."""
    jobs: JobStore
    predictions: PredictionQueue
    prediction_desk: PredictionDesk
    """What is asked of predictors, on an event loop; it is closed there."""
    responses: ResponseStore
    results: ResultStore
    flags: FlagStore
    durability: Durability
    journal: WriteJournal
    answers: AnswerStore
    archive: Archive
    api_keys: ApiKeyStore
    asked_keys: AskedKeys
    """The same, on an event loop."""
    key_archive: KeyArchive
    audit: Audit
    tally: Tally
    worker_figures: WorkerFigures

    def make_durable(self, *, since: str | None = None) -> None:
        """Returns when everything written so far would survive a power cut; see `Durability.sync`."""
        self.durability.sync(since)

    def durably(self, write: Callable[[], T]) -> T:
        """Writes, again where a restart lost it, until it is on disk; see `Durability.durably`."""
        return self.durability.durably(write)

    def close(self) -> None:
        self.client.close()


def open_state(settings: Settings, *, outage_seconds: float = 1.0, waits_for_room: bool = False) -> State:
    """Opens the stores; `outage_seconds` is how long a call waits for a Redis that is away."""
    client = connect(settings.redis_url, outage_seconds=outage_seconds, waits_for_room=waits_for_room)
    keys = Keys(settings.key_prefix)
    exchange = Exchange(settings.redis_url, outage_seconds=outage_seconds)
    known = KnownDatasets(exchange, keys)
    durability = Durability(client, keys.fsync_marker)
    return State(
        client=client,
        keys=keys,
        datasets=DatasetStore(client, keys),
        splits=SplitStore(client, keys),
        ids=IdStore(client, keys),
        samples=SampleStore(settings.data_url),
        reviews=ReviewStore(settings.data_url),
        events=EventStore(settings.data_url),
        scores=ScoreStore(client, keys),
        sets=SetStore(client, keys, durability, settings.set_versions_kept),
        lookups=Lookups(exchange, known, OrdinalHints()),
        pages=Pages(exchange, known),
        exchange=exchange,
        jobs=JobStore(client, keys),
        predictions=PredictionQueue(client, keys),
        prediction_desk=PredictionDesk(settings.redis_url, keys),
        responses=ResponseStore(settings.data_url),
        results=ResultStore(settings.data_url),
        flags=FlagStore(client, keys, settings.data_url),
        durability=durability,
        journal=WriteJournal(client, keys),
        answers=AnswerStore(client, keys),
        archive=Archive(client, keys, settings.data_url),
        api_keys=ApiKeyStore(client, keys),
        asked_keys=AskedKeys(exchange, keys),
        key_archive=KeyArchive(settings.data_url),
        audit=Audit.open(client, keys, exchange, settings.data_url),
        tally=Tally(client, keys),
        worker_figures=WorkerFigures(client, keys),
    )
