"""Rows a second of each format, everything durable, against FastAPI + pydantic routes that write nothing.

    python benchmarks/ingest.py --rows 50000 --rounds 5
    python benchmarks/ingest.py --parts memory --gigabytes 2
    python benchmarks/ingest.py --parts upsert --stored 1000000

The contenders take turns, each round with ids that are new to the service. Nothing is bound to a core.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import http.client
import io
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from api_servers import ServerProcess, started

from app.store.embedded import EmbeddedRedis

HERE = Path(__file__).parent
PARTS = ["formats", "upsert", "memory"]
NDJSON, CSV, PARQUET = "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"
Rows = list[dict[str, Any]]
PEER_NDJSON, PEER_JSON = "pydantic, NDJSON lines", "pydantic, JSON body"


def reviews() -> Rows:
    """The shipped reviews: 388 bytes a row of NDJSON."""
    with gzip.open(HERE.parent / "demo" / "reviews.csv.gz", "rt", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def rows_of(texts: Rows, first: int, count: int) -> Rows:
    """Samples with ids of their own."""
    return [
        {
            "id": f"sample-{number:010d}",
            "text": texts[number % len(texts)]["text"],
            "label": texts[number % len(texts)]["recommended"],
            "group": str(number % 1000),
            "split": "train",
        }
        for number in range(first, first + count)
    ]


def ndjson(rows: Rows) -> bytes:
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def as_csv(rows: Rows) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def as_parquet(rows: Rows) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def as_json(rows: Rows) -> bytes:
    return json.dumps({"samples": rows}).encode()


OURS: dict[str, tuple[str, dict[str, str], Callable[[Rows], bytes]]] = {
    "NDJSON": (NDJSON, {}, ndjson),
    "NDJSON, gzip": (NDJSON, {"Content-Encoding": "gzip"}, lambda rows: gzip.compress(ndjson(rows), 6)),
    "CSV": (CSV, {}, as_csv),
    "Parquet": (PARQUET, {}, as_parquet),
    "JSON": ("application/json", {}, as_json),
}


def post(
    port: int, path: str, body: bytes | Iterable[bytes], kind: str, more: dict[str, str]
) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    connection.request("POST", path, body, {"Content-Type": kind, **more})
    answer = connection.getresponse()
    content: dict[str, Any] = json.loads(answer.read())
    connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{answer.status}: {content}")
    return content


def make_dataset(port: int, name: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"task": "classification"})
    connection.request("PUT", f"/v1/datasets/{name}", body, {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()
    return f"/v1/datasets/{name}/samples"


def formats(ours: ServerProcess, peer: ServerProcess, options: argparse.Namespace) -> None:
    texts = reviews()
    path = make_dataset(ours.port, "formats")
    found: dict[str, list[float]] = {name: [] for name in (PEER_NDJSON, PEER_JSON, *OURS)}
    number = 0
    for turn in range(options.rounds + 1):
        rates = {}
        for name in found:
            rows = rows_of(texts, number, options.rows)
            number += options.rows
            if name == PEER_NDJSON:
                port, sent = peer.port, ("/ndjson", ndjson(rows), NDJSON, {})
            elif name == PEER_JSON:
                port, sent = peer.port, ("/json", as_json(rows), "application/json", {})
            else:
                kind, headers, write = OURS[name]
                port, sent = ours.port, (path, write(rows), kind, headers)
            began = time.perf_counter()
            answer = post(port, *sent)
            rates[name] = options.rows / (time.perf_counter() - began)
            assert answer["received"] == options.rows
            assert answer.get("created", options.rows) == options.rows
        if turn:  # the first one warms up
            for name, rate in rates.items():
                found[name].append(rate)
    print(f"{options.rows} rows a request, median of {options.rounds} rounds (least-most)")
    print(f"{'':<24}{'rows/s':>9}   to {PEER_NDJSON:<24}to {PEER_JSON}")
    for name, rates in found.items():
        told = "".join(f"{_ratio(rates, found[peer_name]):<27}" for peer_name in (PEER_NDJSON, PEER_JSON))
        print(f"{name:<24}{statistics.median(rates):>9.0f}   {told}", flush=True)


def _ratio(rates: list[float], base: list[float]) -> str:
    ratios = [one / other for one, other in zip(rates, base, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def upsert(ours: ServerProcess, redis: ServerProcess, options: argparse.Namespace) -> None:
    """New rows, rows whose label changes, and rows sent again, beside so many that are stored."""
    texts = reviews()
    path = make_dataset(ours.port, "upsert")
    print(f"{'':<44}{'rows/s':>9}{'API peak MB':>13}{'Redis MB':>10}")
    stored = 0
    for target in options.stored:
        began, first = time.perf_counter(), stored
        ours.forget_peak()
        post(ours.port, path, _lines(texts, stored, target), NDJSON, {})
        stored = target
        _tell(f"stored {first} to {stored}", (stored - first) / (time.perf_counter() - began), ours, redis)
        for name, change in (
            ("their labels change, ids in a row", lambda row: row | {"label": "other"}),
            ("sent again", lambda row: row | {"label": "other"}),
        ):
            rows = [change(row) for row in rows_of(texts, stored // 2, options.rows)]
            began = time.perf_counter()
            post(ours.port, path, ndjson(rows), NDJSON, {})
            _tell(f"{name}, at {stored}", len(rows) / (time.perf_counter() - began), ours, redis)
        step = max(1, stored // options.rows)
        rows = [
            rows_of(texts, number, 1)[0] | {"label": "new"} for number in range(0, step * options.rows, step)
        ]
        began = time.perf_counter()
        post(ours.port, path, ndjson(rows), NDJSON, {})
        rate = len(rows) / (time.perf_counter() - began)
        _tell(f"labels change, ids from everywhere, at {stored}", rate, ours, redis)


def _tell(name: str, rate: float, ours: ServerProcess, redis: ServerProcess) -> None:
    print(
        f"{name:<44}{rate:>9.0f}{ours.memory_mb('VmHWM'):>13.0f}{redis.memory_mb('VmRSS'):>10.0f}", flush=True
    )


def _lines(texts: Rows, first: int, stop: int) -> Iterator[bytes]:
    for start in range(first, stop, 2_000):
        yield ndjson(rows_of(texts, start, min(2_000, stop - start)))


def memory(ours: ServerProcess, options: argparse.Namespace) -> None:
    """One NDJSON body of so many bytes; the API's memory while it comes in."""
    texts = reviews()
    path = make_dataset(ours.port, "memory")
    post(ours.port, path, ndjson(rows_of(texts, 0, 20_000)), NDJSON, {})
    idle = ours.memory_mb("VmRSS")
    ours.forget_peak()
    sizes: list[tuple[float, float]] = []
    ended = threading.Event()

    def watch() -> None:
        began = time.perf_counter()
        while not ended.wait(0.5):
            sizes.append((time.perf_counter() - began, ours.memory_mb("VmRSS")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    answer = post(ours.port, path, _until(texts, int(options.gigabytes * 1e9)), NDJSON, {})
    seconds = time.perf_counter() - began
    ended.set()
    watcher.join()
    quarter = max(1, len(sizes) // 4)
    second, last = (
        statistics.median(size for _, size in part)
        for part in (sizes[quarter : 2 * quarter], sizes[-quarter:])
    )
    print(
        f"{options.gigabytes} GB, {answer['received']} rows in {seconds:.0f} s: "
        f"{answer['received'] / seconds:.0f} rows/s. API: idle {idle:.0f} MB, "
        f"peak {ours.memory_mb('VmHWM'):.0f} MB ({ours.memory_mb('VmHWM') - idle:+.0f}); "
        f"second quarter {second:.0f} MB, last quarter {last:.0f} MB"
    )


def _until(texts: Rows, size: int) -> Iterator[bytes]:
    sent, first = 0, 1_000_000_000
    while sent < size:
        lines = ndjson(rows_of(texts, first, 2_000))
        first += 2_000
        sent += len(lines)
        yield lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="of a request")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--stored", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["formats"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder) / "redis") as server:
        assert server.pid is not None
        environment = {"GRADSIFT_REDIS_URL": server.url, "GRADSIFT_DATA_URL": str(Path(folder) / "data")}
        cores = set(os.sched_getaffinity(0))
        with (
            started(["-m", "app.cli", "serve"], cores, environment) as ours,
            started([str(HERE / "ingest_peers.py")], cores, {}) as peer,
        ):
            if "formats" in options.parts:
                formats(ours, peer, options)
            if "upsert" in options.parts:
                upsert(ours, ServerProcess(server.pid), options)
            if "memory" in options.parts:
                memory(ours, options)


if __name__ == "__main__":
    main()
