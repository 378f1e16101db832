"""What a dataset takes up: files by what they are for, Redis by kind of key."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, cast

import redis
from pyarrow import fs

from app.store.keys import DatasetKeys
from app.store.locations import filesystem

MEASURED_KEYS = 200
"""Of each kind; the others are taken to be like them."""


class RedisPart(NamedTuple):
    keys: int
    bytes: int


def files_below(location: str) -> Iterator[tuple[str, int]]:
    """Path below the place, and length, of every file."""
    store, path = filesystem(location)
    found = store.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    start = len(path) + 1
    yield from ((info.path[start:], info.size) for info in found if info.type == fs.FileType.File)


def bytes_below(location: str) -> int:
    return sum(size for _, size in files_below(location))


def redis_usage(client: redis.Redis, keys: DatasetKeys) -> dict[str, RedisPart]:
    """Keys counted, their memory estimated from some of them."""
    counts: Counter[str] = Counter()
    some: dict[str, list[bytes]] = {}
    draw = random.Random(0)
    for key in client.scan_iter(match=f"{keys.base}:*", count=2_000):
        part = _part(keys, cast("bytes", key).decode())
        counts[part] += 1
        held = some.setdefault(part, [])
        if len(held) < MEASURED_KEYS:
            held.append(key)
        elif (at := draw.randrange(counts[part])) < MEASURED_KEYS:
            held[at] = key
    return {
        part: RedisPart(count, round(count * _mean_bytes(client, some[part])))
        for part, count in counts.items()
    }


def _mean_bytes(client: redis.Redis, keys: list[bytes]) -> float:
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=0)
    held = [size for size in pipe.execute() if size is not None]
    return sum(held) / len(held) if held else 0.0


def _part(keys: DatasetKeys, key: str) -> str:
    if key.startswith((keys.index_prefix(), keys.entries_prefix())):
        return "ids"
    if key.startswith(keys.shards_prefix()):
        return "scores"
    if key == keys.versions or key.startswith(keys.versions_prefix()):
        return "sets"
    return "other"
