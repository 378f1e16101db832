"""What a scored sample costs in Redis, how fast visits are recorded, and how fast scores are read.

    python benchmarks/score_store.py --samples 1000000
    python benchmarks/score_store.py --samples 10000000 --peer-samples 0 --only memory

A real Valkey with its append-only file on (everysec), ids of 20 characters, the product's own write path;
beside it, on the same server in the same run, a hash per sample with the same fields and a sorted set. Memory
is the rise of `used_memory` as each part is written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import redis
from score_store_peer import HashPerSample
from score_store_state import IDS_A_CALL, Store, sample_id, some_visits

from app.contracts import SetName
from app.store.embedded import EmbeddedRedis
from app.store.records import Visits
from app.store.scores import shard_count


class Growth:
    """The rise of the server's used_memory since it was last asked, per sample."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._last = self._settled()

    def per(self, samples: int) -> float:
        before, self._last = self._last, self._settled()
        return (self._last - before) / samples

    def _settled(self) -> int:
        """The lowest of a second: buffers of clients and of the file come and go."""
        seen = []
        for _ in range(10):
            seen.append(self._client.info("memory")["used_memory"])
            time.sleep(0.1)
        return min(seen)


def latency(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """p50 and p99 in ms."""
    call()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def measure_memory(store: Store, figures: dict[str, float]) -> None:
    growth, n = Growth(store.client), store.samples
    started = time.perf_counter()
    store.store_ids()
    figures["ids stored a second"] = n / (time.perf_counter() - started)
    ids = growth.per(n)
    figures["bytes: index, id to ordinal"] = store.index_bytes() / n
    figures["bytes: entries, ordinal to id, with digests"] = ids - figures["bytes: index, id to ordinal"]
    store.show_lineage()
    growth.per(n)
    store.write(list(range(shard_count(n))))
    figures["bytes: records"] = growth.per(n)
    store.publish(1)
    figures["bytes: one set version"] = growth.per(n)
    figures["bytes: all of it"] = ids + figures["bytes: records"] + figures["bytes: one set version"]
    store.publish(2)
    figures["bytes: each further version"] = growth.per(n)


def measure_peer_memory(
    peer: HashPerSample, client: redis.Redis, samples: int, random: np.random.Generator
) -> float:
    growth = Growth(client)
    for start in range(0, samples, IDS_A_CALL):
        ordinals = np.arange(start, min(start + IDS_A_CALL, samples))
        ids = [sample_id(n) for n in ordinals.tolist()]
        peer.store_ids(ids)
        visits = some_visits(ordinals, random)
        peer.merge_by_script(ids, visits, int(time.time()))
        peer.sort(ids, visits.grad_norm.tolist(), [1] * len(ids))
    return growth.per(samples)


def peer_rate(
    merge: Callable[[list[str], Visits, int], None], samples: int, random: np.random.Generator
) -> float:
    """Visits a second of 100 calls of 1,000 visits each."""
    order = random.permutation(samples)[:100_000]
    steps = [some_visits(order[at : at + 1000], random) for at in range(0, len(order), 1000)]
    named = [[sample_id(n) for n in visits.ordinals.tolist()] for visits in steps]
    started = time.perf_counter()
    for ids, visits in zip(named, steps, strict=True):
        merge(ids, visits, int(started))
    return len(order) / (time.perf_counter() - started)


def measure_rates(
    store: Store, peer: HashPerSample, samples: int, random: np.random.Generator, figures: dict[str, float]
) -> None:
    """Three rounds in turn; the ratio is that of one round."""
    ours: dict[int, list[float]] = {4096: [], 32: []}
    theirs: dict[str, list[float]] = {"script": [], "increments": []}
    for _ in range(3):
        ours[4096].append(store.accumulate(4096, random, store.samples))
        ours[32].append(store.accumulate(32, random, 100_000))
        theirs["script"].append(peer_rate(peer.merge_by_script, samples, random))
        theirs["increments"].append(peer_rate(peer.merge_by_increments, samples, random))
    for batch, rates in ours.items():
        figures[f"visits a second, steps of {batch:,}"] = statistics.median(rates)
        ratios = [rate / max(others) for rate, *others in zip(rates, *theirs.values(), strict=True)]
        figures[f"… times the faster peer (median), {batch}"] = statistics.median(ratios)
        figures[f"… times the faster peer (lowest), {batch}"] = min(ratios)
    for name, rates in theirs.items():
        figures[f"visits a second, hash per sample, {name}"] = statistics.median(rates)


def measure_latency(
    store: Store, peer: HashPerSample, samples: int, random: np.random.Generator, figures: dict[str, float]
) -> None:
    def ids(count: int) -> list[str]:
        return [sample_id(n) for n in random.integers(0, samples, count).tolist()]

    half = samples // 2
    calls: dict[str, Callable[[], object]] = {
        "one shard written": lambda: store.write([int(random.integers(0, shard_count(store.samples)))]),
        "look-up of 1 id, with rank": lambda: store.scores.lookup(store.dataset, ids(1)),
        "look-up of 1,000 ids, with ranks": lambda: store.scores.lookup(store.dataset, ids(1000)),
        "page of 100": lambda: _page(store, int(random.integers(0, half - 100))),
        "hash per sample: 1 id, with rank": lambda: peer.lookup(ids(1)),
        "hash per sample: 1,000 ids, with ranks": lambda: peer.lookup(ids(1000)),
        "hash per sample: page of 100": lambda: _peer_page(peer, int(random.integers(0, half - 100))),
    }
    for name, call in calls.items():
        figures[f"ms: {name}, p50"], figures[f"ms: {name}, p99"] = latency(
            call, 200 if "1,000" in name else 1000
        )


def _page(store: Store, first: int) -> object:
    return store.sets.members(store.dataset, 1, SetName.CORE, first, first + 99)


def _peer_page(peer: HashPerSample, first: int) -> object:
    return peer.page(first, first + 99)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--samples", type=int, default=1_000_000)
    options.add_argument("--peer-samples", type=int, default=200_000, help="0: without the peer")
    options.add_argument("--only", choices=["memory"])
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    figures: dict[str, float] = {}
    random = np.random.default_rng(0)
    with (
        tempfile.TemporaryDirectory() as place,
        EmbeddedRedis(Path(place)) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        store, peer = Store(client, chosen.samples), HashPerSample(client)
        measure_memory(store, figures)
        if chosen.peer_samples:
            per_peer = measure_peer_memory(peer, client, chosen.peer_samples, random)
            figures["bytes: hash per sample and sorted set"] = per_peer
            figures["share of the hash per sample"] = figures["bytes: all of it"] / per_peer
        if chosen.only is None:
            measure_rates(store, peer, chosen.peer_samples, random, figures)
            measure_latency(store, peer, chosen.peer_samples, random, figures)
        about = client.info("server"), client.info("memory")["mem_allocator"]
    print(
        f"{os.cpu_count()} cores, {platform.machine()}; {about[0].get('server_name', 'redis')} "
        f"{about[0].get('valkey_version', about[0]['redis_version'])}, allocator {about[1]}"
    )
    print(f"{chosen.samples:,} samples; peer: {chosen.peer_samples:,} samples")
    for name, value in figures.items():
        print(f"{name:55s} {value:12,.2f}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
