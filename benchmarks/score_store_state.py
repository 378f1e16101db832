"""The product's stores over one dataset of a benchmark, without the sample store."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import redis

from app.contracts import Dataset, Lineage, SetVersion, Task, now
from app.store.datasets import DatasetStore
from app.store.durability import Durability
from app.store.ids import IdStore
from app.store.keys import Keys
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger, Visits, empty_records, merge_visits
from app.store.scores import ScoreStore, shard_count
from app.store.sets import Placement, SetStore

UID, LINEAGE, TOKEN = "0123456789ab", "lin_0123456789ab", 1_790_000_000_000_000
IDS_A_CALL = 2_000
FLUSH_SECONDS = 2.0  # GRADSIFT_FLUSH_SECONDS


def sample_id(number: int) -> str:
    return f"sample-{number:013}"


def some_visits(ordinals: np.ndarray, random: np.random.Generator) -> Visits:
    count = len(ordinals)
    confidence = random.random(count)
    return Visits(
        ordinals=ordinals,
        generations=np.zeros(count, np.uint32),
        grad_norm=random.lognormal(size=count),
        loss=-np.log(confidence + 1e-9),
        el2n=random.random(count),
        margin=random.normal(size=count),
        confidence=confidence,
        correct=confidence > 0.5,
        alignment=random.uniform(-1, 1, count),
    )


class Store:
    def __init__(self, client: redis.Redis, samples: int) -> None:
        self.client = client
        self.keys = Keys("gs")
        self.dataset = Dataset(uid=UID, name="bench", task=Task.CLASSIFICATION, created_at=now())
        self.datasets = DatasetStore(client, self.keys)
        self.datasets.register(self.dataset)
        self.datasets.take_fence(UID, TOKEN)
        self.ids = IdStore(client, self.keys)
        self.scores = ScoreStore(client, self.keys)
        self.sets = SetStore(client, self.keys, Durability(client, self.keys.fsync_marker), versions_kept=32)
        self.samples = samples
        self.records = empty_records(shard_count(samples) * SHARD_RECORDS)
        self.step = 0

    def store_ids(self) -> None:
        for start in range(0, self.samples, IDS_A_CALL):
            ids = [sample_id(n) for n in range(start, min(start + IDS_A_CALL, self.samples))]
            entries = self.ids.assign(self.dataset, ids)
            stored = [entry._replace(content=2**63 + entry.ordinal, attributes=7) for entry in entries]
            self.ids.commit(self.dataset, list(zip(ids, stored, strict=True)), [])

    def show_lineage(self) -> None:
        made = Lineage(id=LINEAGE, model="demo", revision="r", trainable="all", created_at=now(), runs=1)
        self.datasets.show_lineage_if_first(self.dataset, made)

    def write(self, numbers: list[int]) -> None:
        shards = {n: self.records[n * SHARD_RECORDS : (n + 1) * SHARD_RECORDS] for n in numbers}
        self.scores.write_shards(UID, LINEAGE, Ledger(TOKEN, 1, self.step), shards)

    def accumulate(self, batch: int, random: np.random.Generator, most: int) -> float:
        """Visits a second over one epoch, or its first `most` visits, in random order.

        Merged a step at a time, written when a flush is due and at the end, and then on disk.
        """
        order = random.permutation(self.samples)[:most]
        steps = [some_visits(order[at : at + batch], random) for at in range(0, len(order), batch)]
        dirty: set[int] = set()
        started = flushed = time.perf_counter()
        for visits in steps:
            self.step += 1
            merge_visits(self.records, visits.ordinals, visits, at=int(time.time()))
            dirty |= set(np.unique(visits.ordinals // SHARD_RECORDS).tolist())
            if time.perf_counter() - flushed >= FLUSH_SECONDS:
                self.write(sorted(dirty))
                dirty.clear()
                flushed = time.perf_counter()
        self.write(sorted(dirty))
        self.client.execute_command("WAITAOF", 1, 0, 10_000)
        return len(order) / (time.perf_counter() - started)

    def publish(self, version: int) -> None:
        """10 of 100 noise, 50 core, the rest edge, by importance."""
        held = self.records[: self.samples]
        importance = held["grad_norm_sum"] / np.maximum(held["visits"], 1)
        order = np.argsort(-importance, kind="stable")
        sets = np.full(self.samples, 2, np.uint8)
        sets[: self.samples // 2], sets[self.samples - self.samples // 10 :] = 1, 3
        sizes = {name: int((sets == code).sum()) for code, name in enumerate(("core", "edge", "noise"), 1)}
        described = SetVersion(
            version=version,
            policy="seed",
            params={},
            job="job_0",
            lineage=LINEAGE,
            created_at=now(),
            sizes=sizes,
        )
        placement = Placement(
            ordinals=order,
            generations=np.zeros(self.samples, np.uint32),
            importance=importance[order],
            noise=np.full(self.samples, 0.25),
            sets=sets,
            reasons=np.ones(self.samples, np.uint8),
            suggested=np.full(self.samples, -1, np.int32),
        )
        self.sets.publish(UID, described, placement, token=TOKEN)

    def index_bytes(self) -> int:
        """The index alone, which is written together with the entries."""
        total = 0
        for keys in _chunks(self.client.scan_iter(f"{self.keys.dataset(UID).index_prefix()}*", 2000), 2000):
            pipe = self.client.pipeline(transaction=False)
            for key in keys:
                pipe.memory_usage(key, 0)
            total += sum(pipe.execute())
        return total


def _chunks(keys: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    some: list[bytes] = []
    for key in keys:
        some.append(key)
        if len(some) == size:
            yield some
            some = []
    yield some
