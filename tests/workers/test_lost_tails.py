"""A server that goes back in time, to any moment of a job: the job ends right, and nothing counts twice."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import redis

from app.contracts import JobState
from app.settings import Settings
from app.store.datasets import DatasetStore
from app.store.embedded import EmbeddedRedis
from app.store.jobs import JobStore
from app.store.sets import SetStore
from app.store.state import State, open_state
from tests.workers.conftest import Bench, Row
from tests.workers.test_resume import assert_same, sums, take_back
from workers.runner import run_claimed
from workers.score.book import ScoreBook
from workers.score.checkpoint import Checkpoints

MakeRows = Callable[[int], list[Row]]
pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "own") as server:
        yield server


@pytest.fixture
def settings(server: EmbeddedRedis, settings: Settings) -> Settings:
    """With a server of this test alone, and short leases."""
    own = {"redis_url": server.url, "lease_seconds": 0.6, "heartbeat_seconds": 0.1, "checkpoint_seconds": 0.0}
    return settings.model_copy(update=own)


def file_of(server: EmbeddedRedis) -> Path:
    return next((server.directory / "appendonlydir").glob("*.incr.aof"))


def go_back(server: EmbeddedRedis, state: State, size: int) -> None:
    server.stop()
    file = file_of(server)
    file.write_bytes(file.read_bytes()[:size])
    server.start()
    state.client.connection_pool.disconnect()


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (ScoreBook, "flush", 1),
        (ScoreBook, "flush", 6),
        (Checkpoints, "save", 1),
        (ScoreBook, "close", 1),
        (JobStore, "end", 1),
    ],
    ids=["first flush", "in the middle", "at a checkpoint", "before the last write", "before its end"],
)
def test_a_job_that_falls_back_after_it_succeeded_ends_the_same(
    bench: Bench,
    server: EmbeddedRedis,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    call: int,
) -> None:
    for name in ("calm", "d"):
        bench.dataset(make_rows(40), name=name)
        bench.run(name)  # so that the job in question continues a lineage
    assert bench.run("calm", seed=1).state is JobState.SUCCEEDED
    sizes: list[int] = []
    original = getattr(owner, method)

    def noting(*args: object, **kwargs: object) -> object:
        sizes.append(file_of(server).stat().st_size)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, noting)
        job = bench.run("d", seed=1)
    assert job.state is JobState.SUCCEEDED
    go_back(server, bench.state, sizes[call - 1])
    assert bench.state.jobs.get(job.id).state is JobState.RUNNING
    take_back(bench)
    run_claimed(bench.state, bench.settings, bench.claim())
    ended = bench.state.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert_same(sums(bench, "d", 40), sums(bench, "calm", 40))
    versions = bench.state.sets.versions(bench.state.datasets.get("d"))
    assert [version.version for version in versions] == [2, 1]
    assert versions[0].sizes == bench.state.sets.versions(bench.state.datasets.get("calm"))[0].sizes


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [(DatasetStore, "save_lineage", 1), (ScoreBook, "flush", 4), (SetStore, "publish", 1)],
    ids=["as it begins", "in the middle", "as it ends"],
)
@pytest.mark.parametrize("before", [0, 1], ids=["first job", "second job"])
def test_a_server_that_goes_back_under_a_running_job_gets_everything_again(
    bench: Bench,
    server: EmbeddedRedis,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    call: int,
    before: int,
) -> None:
    """The claim, the fence, the lineage and the shards are gone while the worker runs on."""
    for name in ("calm", "d"):
        bench.dataset(make_rows(40), name=name)
        for seed in range(before):
            bench.run(name, seed=seed)
    bench.run("calm", seed=before)
    job = bench.queue(seed=before)
    size = file_of(server).stat().st_size
    claim, original, calls = bench.claim(), getattr(owner, method), []

    def losing(*args: object, **kwargs: object) -> object:
        calls.append(method)
        if len(calls) == call:
            go_back(server, bench.state, size)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, method, losing)
    run_claimed(bench.state, bench.settings, claim)
    monkeypatch.undo()
    ended = bench.state.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 1)
    assert_same(sums(bench, "d", 40), sums(bench, "calm", 40))
    # The next job adds to the same lineage.
    bench.run("calm", seed=7)
    assert bench.run("d", seed=7).lineage == ended.lineage is not None
    assert_same(sums(bench, "d", 40), sums(bench, "calm", 40))


def test_a_worker_that_slept_before_it_kept_the_base_does_not_spoil_it(
    bench: Bench, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked for the base, slept, and woke when another attempt had already written visits."""
    bench.dataset(make_rows(24), name="calm")
    bench.run("calm")
    bench.dataset(make_rows(24))
    job = bench.queue()
    bench.settings = bench.settings.model_copy(update={"checkpoint_seconds": 3600.0})
    load, slept = Checkpoints.load_base, []

    def sleeping(checkpoints: Checkpoints, ordinals: int) -> object:
        found = load(checkpoints, ordinals)
        if not slept:
            slept.append(True)
            take_back(bench)
            successor = bench.claim("successor")
            with monkeypatch.context() as patch:
                patch.setattr(ScoreBook, "close", _die)
                with pytest.raises(_Killed):
                    run_claimed(bench.state, bench.settings, successor)
        return found

    monkeypatch.setattr(Checkpoints, "load_base", sleeping)
    sleeper = bench.claim("sleeper")
    monkeypatch.setattr("workers.lease.JobLease._keep", lambda _: None)
    assert run_claimed(bench.state, bench.settings, sleeper)
    take_back(bench)
    run_claimed(bench.state, bench.settings, bench.claim("third"))
    assert bench.state.jobs.get(job.id).state is JobState.SUCCEEDED
    assert_same(sums(bench, "d", 24), sums(bench, "calm", 24))


class _Killed(BaseException):
    """As kill -9: nothing is caught."""


def _die(*_: object) -> None:
    raise _Killed


# -- a server that is there, but not for us --------------------------------------------------------------
def without_memory(server: EmbeddedRedis) -> Callable[[], object]:
    client = redis.Redis.from_url(server.url)
    client.config_set("maxmemory", 1)
    return lambda: client.config_set("maxmemory", 0)


def without_disk(server: EmbeddedRedis) -> Callable[[], object]:
    """As on a full disk: the server's file cannot grow."""
    process, unlimited = psutil.Process(server.pid), resource.RLIM_INFINITY
    process.rlimit(resource.RLIMIT_FSIZE, (1, unlimited))
    return lambda: process.rlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))


def frozen(server: EmbeddedRedis) -> Callable[[], object]:
    process = psutil.Process(server.pid)
    process.suspend()
    return process.resume


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are set on Linux only")
@pytest.mark.parametrize("trouble", [without_memory, without_disk, frozen])
def test_a_job_waits_for_its_server_and_goes_on(
    bench: Bench,
    server: EmbeddedRedis,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[EmbeddedRedis], Callable[[], object]],
) -> None:
    """For longer than its lease, while the reaper looks on; no crash is counted, no visit lost or doubled."""
    bench.dataset(make_rows(40))
    job = bench.queue()
    state = open_state(bench.settings, outage_seconds=20, waits_for_room=True)
    claim = state.jobs.claim("w", bench.settings.lease_seconds)
    assert claim is not None
    flush, ends = ScoreBook.flush, []

    def troubled(book: ScoreBook, step: int) -> None:
        if step == 4:
            end = trouble(server)
            ends.append(threading.Timer(1.5, end))
            ends[0].start()
        flush(book, step)

    monkeypatch.setattr(ScoreBook, "flush", troubled)
    with reaper(bench):
        run_claimed(state, bench.settings, claim)
    state.close()
    ends[0].join()
    ended = bench.state.jobs.get(job.id)
    crashes = bench.state.client.hget(bench.state.keys.jobs.record(job.id), "crashes")
    assert (ended.state, ended.attempt, crashes) == (JobState.SUCCEEDED, 1, b"0")
    assert set(sums(bench, "d", 40)["visits"]) == {2}


@contextmanager
def reaper(bench: Bench) -> Iterator[None]:
    """Looks after the leases as the API does."""
    ending, settings = threading.Event(), bench.settings
    state = open_state(settings, outage_seconds=20)

    def look() -> None:
        while not ending.wait(0.05):
            with suppress(redis.ResponseError):
                state.jobs.reap(3, lease_seconds=settings.lease_seconds, longest_gap_seconds=0.4)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        state.close()
