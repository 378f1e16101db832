"""The hot routes of the API against an empty FastAPI route and raw Redis, interleaved.

    python benchmarks/api.py --samples 1000000 --rounds 9

The servers, one process each, share one core and are measured in turn; Redis and the load generator have the
other one. Ratios are to the empty route's round just before.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis.asyncio
from api_load import CONNECTIONS, Load, generator, load, load_of, score_path
from api_servers import ServerProcess, cpu_seconds, started
from api_state import NAME, fill, sample_id

from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.scores import LOOKUP_SCRIPT, lookup_call
from app.store.scripts import script_source
from app.store.state import State, open_state

PARTS = ["hot", "single", "export"]
SERVER_CORE, OTHER_CORE = 0, 1
HERE = Path(__file__).parent
BASE = f"/v1/datasets/{NAME}"


def raw_redis(state: State, samples: int, seconds: float) -> Load:
    """The look-up script straight from redis-py, 32 connections on the servers' core."""
    keys = state.keys.dataset(state.datasets.get(NAME).uid)
    os.sched_setaffinity(0, {SERVER_CORE})

    async def ask(client: redis.asyncio.Redis, sha: str, until: float, times: list[float]) -> None:
        while time.perf_counter() < until:
            names, arguments = lookup_call(keys, [sample_id(random.randrange(samples))])
            began = time.perf_counter()
            await client.evalsha(sha, len(names), *names, *arguments)
            times.append(time.perf_counter() - began)

    async def all_of_them() -> Load:
        path = state.client.connection_pool.connection_kwargs["path"]
        client = redis.asyncio.Redis(unix_socket_path=path, max_connections=CONNECTIONS)
        sha = await client.script_load(script_source(LOOKUP_SCRIPT))
        times: list[float] = []
        until = time.perf_counter() + seconds
        await asyncio.gather(*(ask(client, sha, until, times) for _ in range(CONNECTIONS)))
        await client.aclose()
        return load_of(times, seconds)

    try:
        return asyncio.run(all_of_them())
    finally:
        os.sched_setaffinity(0, {OTHER_CORE})


def hot_route(state: State, ours: ServerProcess, empty: ServerProcess, options: argparse.Namespace) -> None:
    contenders: dict[str, Callable[[], tuple[Load, float]]] = {
        "empty FastAPI route": lambda: _costed(empty, "/empty", 0, options.seconds),
        "GET scores/{id}": lambda: _costed(ours, score_path(), options.samples, options.seconds),
        "raw Redis": lambda: (raw_redis(state, options.samples, options.seconds), math.nan),
    }
    found: dict[str, list[tuple[Load, float]]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, measure in contenders.items():
            found[name].append(measure())
    print(
        f"{CONNECTIONS} connections, load from {generator()}, median of {options.rounds} rounds (least-most)"
    )
    print(f"{'':<21}{'requests/s':>11}{'ratio':>7}{'':<13}{'p50 ms':>8}{'p99 ms':>8}{'ratio':>7}", end="")
    print(f"{'CPU µs':>8}{'ratio':>7}")
    for name, rounds in found.items():
        _print_row(name, rounds, found["empty FastAPI route"])


def _costed(server: ServerProcess, path: str, samples: int, seconds: float) -> tuple[Load, float]:
    """And the server's CPU time a request, in microseconds."""
    before = cpu_seconds(server.pid)
    came = load(server.port, path, samples, seconds)
    return came, 1e6 * (cpu_seconds(server.pid) - before) / came.requests


def _print_row(name: str, rounds: list[tuple[Load, float]], base: list[tuple[Load, float]]) -> None:
    pairs = list(zip(rounds, base, strict=True))
    rates = [one.requests_per_second / other.requests_per_second for (one, _), (other, _) in pairs]
    tails = [one.p99_ms / other.p99_ms for (one, _), (other, _) in pairs]
    costs = [cpu / other for (_, cpu), (_, other) in pairs]
    rate, p50, p99 = (
        statistics.median(values)
        for values in zip(
            *((one.requests_per_second, one.p50_ms, one.p99_ms) for one, _ in rounds), strict=True
        )
    )
    spread = f" ({min(rates):.2f}-{max(rates):.2f})"
    print(
        f"{name:<21}{rate:>11.0f}{statistics.median(rates):>7.2f}{spread:<13}{p50:>8.2f}{p99:>8.2f}", end=""
    )
    print(f"{statistics.median(tails):>7.2f}", end="")
    print(f"{statistics.median(cpu for _, cpu in rounds):>8.0f}{statistics.median(costs):>7.2f}", flush=True)


class OneConnection:
    """Requests one after another, and what each costs whom."""

    def __init__(self, ours: ServerProcess, redis_pid: int) -> None:
        self._pids = (ours.pid, redis_pid)
        self._http = http.client.HTTPConnection("127.0.0.1", ours.port)

    def read(self, method: str, path: str, body: object = None) -> bytes:
        sent = None if body is None else json.dumps(body)
        self._http.request(method, BASE + path, sent, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(content.decode())
        return content

    def time(self, name: str, requests: list[tuple[str, str, object]]) -> None:
        """The client's own share is in the times; the first tenth warms up."""
        times: list[float] = []
        first = len(requests) // 10
        for number, request in enumerate(requests):
            if number == first:
                before = [cpu_seconds(pid) for pid in self._pids]
            began = time.perf_counter()
            self.read(*request)
            times.append(time.perf_counter() - began)
        counted = len(requests) - first
        cpu = [1e3 * (cpu_seconds(pid) - was) / counted for pid, was in zip(self._pids, before, strict=True)]
        shares = statistics.quantiles(times[first:], n=100)
        row = f"{name:<44}{1e3 * shares[49]:>9.2f}{1e3 * shares[98]:>9.2f}{cpu[0]:>12.2f}{cpu[1]:>12.2f}"
        print(row, flush=True)


def single_requests(ours: ServerProcess, redis_pid: int, samples: int) -> None:
    client = OneConnection(ours, redis_pid)
    print(f"{'one connection':<44}{'p50 ms':>9}{'p99 ms':>9}{'API CPU ms':>12}{'Redis CPU ms':>13}")
    never_asked = iter(random.Random(0).sample(range(samples), samples))
    asked: dict[str, list[tuple[str, str, object]]] = {}
    for many, at_most in ((1, 2_000), (100, 500), (1_000, 300), (10_000, 30)):
        requests = min(at_most, samples // (5 * many))
        some = [[sample_id(next(never_asked)) for _ in range(many)] for _ in range(requests)]
        if many == 1:
            asked["GET scores/{id}"] = [("GET", f"/scores/{one}", None) for (one,) in some]
        else:
            asked[f"POST scores/lookup, {many} ids"] = [
                ("POST", "/scores/lookup", {"ids": ids}) for ids in some
            ]
    # An API process remembers where it found a sample, so whether it was asked before matters.
    for when in ("new", "asked before"):
        for name, requests_of_it in asked.items():
            client.time(f"{name}, {when}", requests_of_it)
    first = json.loads(client.read("GET", "/sets/core?limit=1"))
    for depth in (0.0, 0.5, 0.99):
        cursor = _cursor(first["next_cursor"], int(depth * first["total"]))
        name = f"GET sets/core, 100 from {depth:.0%} of {first['total']}"
        client.time(name, [("GET", f"/sets/core?limit=100&cursor={cursor}", None)] * 500)


def _cursor(of_first_page: str, row: int) -> str:
    position = json.loads(base64.urlsafe_b64decode(of_first_page + "=" * (-len(of_first_page) % 4)))
    position["next_row"] = row
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def exports(ours: ServerProcess) -> None:
    print(f"{'export of the core':<44}{'rows/s':>9}{'MB':>9}{'memory grows by, MB':>22}")
    for query in (
        "format=ndjson",
        "format=parquet",
        "format=csv&include=score",
        "format=ndjson&include=score",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", ours.port)
        connection.request("GET", f"{BASE}/sets/core?limit=1")
        rows = json.loads(connection.getresponse().read())["total"]
        before = ours.memory_mb("VmRSS")
        ours.forget_peak()
        began = time.perf_counter()
        connection.request("GET", f"{BASE}/sets/core/export?{query}")
        answer = connection.getresponse()
        size = 0
        while part := answer.read(1 << 20):
            size += len(part)
        seconds = time.perf_counter() - began
        grown = ours.memory_mb("VmHWM") - before
        told = f"{query}, {rows} rows"
        print(f"{told:<44}{rows / seconds:>9.0f}{size / 1e6:>9.0f}{grown:>22.1f}", flush=True)
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3, help="of each contender in each round")
    parser.add_argument(
        "--parts", nargs="+", choices=["hot", "single", "export"], default=["hot", "single", "export"]
    )
    options = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        assert server.pid is not None
        settings = Settings(redis_url=server.url, data_url=folder)
        state = open_state(settings)
        began = time.perf_counter()
        fill(state, options.samples)
        print(f"{options.samples} scored samples, written in {time.perf_counter() - began:.0f} s", flush=True)
        environment = {"GRADSIFT_REDIS_URL": server.url, "GRADSIFT_DATA_URL": folder}
        with (
            started(["-m", "app.cli", "serve"], {SERVER_CORE}, environment) as ours,
            started([str(HERE / "api_servers.py")], {SERVER_CORE}, {}) as empty,
        ):
            if "hot" in options.parts:
                hot_route(state, ours, empty, options)
            if "single" in options.parts:
                single_requests(ours, server.pid, options.samples)
            if "export" in options.parts:
                exports(ours)
        state.close()


if __name__ == "__main__":
    main()
