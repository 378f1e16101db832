"""What it costs to keep the archive, and how fast Redis comes back from it: bytes a visit, seconds a million.

    python benchmarks/recovery.py --samples 200000 --epochs 3

Random samples and visits, no model: the files are those that a job of this size would write, the rest is the
real thing (a Valkey of its own with its append-only file on, Lance, Parquet). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from app.contracts import Dataset, JobKind, JobState, Lineage, Progress, SetName, SetVersion, Task, now
from app.ingest.rows import SampleRow
from app.ingest.writing import Ingest
from app.services.backup import backup
from app.services.datasets import put_dataset
from app.services.rebuild import rebuild
from app.services.restore import restore
from app.services.verify import verify
from app.settings import Settings
from app.store.deltas import LAST_STEP, LineageDeltas, visit_rows
from app.store.embedded import EmbeddedRedis
from app.store.layout import SHARD_RECORDS
from app.store.records import Ledger, Visits, empty_records, importance, merge_visits
from app.store.scores import shard_count
from app.store.sets import Placement
from app.store.state import State, open_state

LINEAGE = "lin_bench"


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    into[name] = into.get(name, 0.0) + time.perf_counter() - started


def visits_of(rng: np.random.Generator, count: int) -> Visits:
    """As a model gives them: norms in float64, the rest in float32."""

    def single(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32).astype(np.float64)

    return Visits(
        ordinals=rng.permutation(count).astype(np.int64),
        generations=np.zeros(count, dtype=np.uint32),
        grad_norm=rng.lognormal(0, 1, count),
        loss=single(rng.lognormal(-1, 1, count)),
        el2n=single(rng.uniform(0, 1.4, count)),
        margin=single(rng.normal(1, 2, count)),
        confidence=single(rng.uniform(0, 1, count)),
        correct=rng.uniform(size=count) < 0.9,
        alignment=single(rng.normal(0, 0.2, count)),
    )


def ingest(state: State, settings: Settings, samples: int) -> Dataset:
    dataset, _ = put_dataset(state, "bench", Task.CLASSIFICATION, None, None)
    request = Ingest(state, settings, dataset)
    for start in range(0, samples, 20_000):
        rows = [
            SampleRow(
                id=f"sample-{n:013}",
                text=f"a review of some thirty words or so, number {n} " * 3,
                label=n % 2,
            )
            for n in range(start, min(start + 20_000, samples))
        ]
        request.add([lambda row=row: row for row in rows])
    return dataset


def score(state: State, dataset: Dataset, samples: int, epochs: int, seconds: dict[str, float]) -> int:
    """What a job of so many epochs leaves: in Redis, and in the archive. Answers the bytes of its visits."""
    home = state.archive.of_dataset(dataset)
    job, _ = state.jobs.create(dataset, JobKind.SCORE, "demo", {})
    claim = state.jobs.claim("bench", 3600)
    assert claim is not None
    state.datasets.take_fence(dataset.uid, claim.token)
    lineage = Lineage(id=LINEAGE, model="m", revision="r", trainable="all", created_at=now(), runs=1)
    home.save_lineage(lineage)
    state.datasets.save_lineage(dataset, lineage)
    rng, deltas, files = np.random.default_rng(0), home.deltas(LINEAGE), []
    records = empty_records(shard_count(samples) * SHARD_RECORDS)
    for epoch in range(epochs):
        visits = visits_of(rng, samples)
        with timed(seconds, "merge"):
            merge_visits(records, visits.ordinals, visits, at=1_764_000_000 + epoch)
        with timed(seconds, "write"):
            files.append(
                deltas.write_epoch(1, epoch, claim.token, visit_rows(visits, at=1_764_000_000 + epoch))
            )
    shards = {n: records[n * SHARD_RECORDS : (n + 1) * SHARD_RECORDS] for n in range(shard_count(samples))}
    state.scores.write_shards(dataset.uid, LINEAGE, Ledger(claim.token, 1, LAST_STEP), shards)
    deltas.close_run(1, claim.token, job=job.id, epochs=files, shards=shards)
    publish(state, dataset, job.id, claim.token, importance(records[:samples]))
    state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(phase="done"))
    state.archive.save_job(job.id)
    return bytes_of(deltas, files)


def bytes_of(deltas: LineageDeltas, files: list[str]) -> int:
    return sum((Path(deltas.folder.location) / name).stat().st_size for name in files)


def publish(state: State, dataset: Dataset, job: str, token: int, values: np.ndarray) -> None:
    order = np.argsort(-values, kind="stable")
    sets = np.full(len(order), 2, dtype=np.uint8)
    sets[: len(order) // 2] = 1
    sets[-len(order) // 10 :] = 3
    sizes = {name.value: int((sets == code).sum()) for code, name in enumerate(SetName, 1)}
    version = SetVersion(
        version=1, policy="seed", params={}, job=job, lineage=LINEAGE, created_at=now(), sizes=sizes
    )
    placement = Placement(
        ordinals=order.astype(np.int64),
        generations=np.zeros(len(order), dtype=np.uint32),
        importance=values[order],
        noise=np.full(len(order), np.nan),
        sets=sets,
        reasons=sets,
        suggested=np.full(len(order), -1, dtype=np.int32),
    )
    with state.datasets.writing(dataset):
        state.archive.of_dataset(dataset).save_version(version, placement, token=token)
        state.sets.publish(dataset.uid, version, placement, token=token)
        state.archive.save_manifest(dataset)


def silent(*_: object) -> None:
    pass


def measure(folder: Path, samples: int, epochs: int) -> list[tuple[str, str]]:
    seconds: dict[str, float] = {}

    def rate(name: str, run: Callable[[], object], per: int = samples) -> tuple[str, str]:
        with timed(seconds, name):
            run()
        return name, f"{seconds[name]:.1f} s, {per / seconds[name] / 1000:,.0f} thousand samples/s"

    with EmbeddedRedis(folder / "server") as server:
        settings = Settings(redis_url=server.url, data_url=str(folder / "data"), ingest_batch_rows=20_000)
        state = open_state(settings)
        dataset = ingest(state, settings, samples)
        size = score(state, dataset, samples, epochs, seconds)
        visits = samples * epochs
        rows = [
            ("bytes a visit in the archive", f"{size / visits:.1f}"),
            ("writing an epoch's file", f"{seconds['write'] / visits * 1e6:.2f} s a million visits"),
            ("merging the same visits", f"{seconds['merge'] / visits * 1e6:.2f} s a million visits"),
            rate("verify", lambda: assert_clean(state)),
            rate("backup", lambda: backup(state, str(folder / "backup"), silent)),
        ]
        state.client.flushdb()
        rows.append(rate("rebuild", lambda: rebuild(state, [], replace=False, report=silent)))
        assert_clean(state)
        state.client.flushdb()
        again = open_state(settings.model_copy(update={"data_url": str(folder / "again")}))
        rows.append(rate("restore", lambda: restore(again, str(folder / "backup"), silent)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(("peak memory of the process that did all of it", f"{peak:,.0f} MiB"))
        again.close()
        state.close()
    return rows


def assert_clean(state: State) -> None:
    found = list(verify(state, [], silent))
    assert found == [], found[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gradsift-recovery-") as folder:
        rows = measure(Path(folder), arguments.samples, arguments.epochs)
    print(f"{arguments.samples:,} samples, {arguments.epochs} epochs\n\n| what | figure |\n|---|---|")
    for name, figure in rows:
        print(f"| {name} | {figure} |")


if __name__ == "__main__":
    main()
