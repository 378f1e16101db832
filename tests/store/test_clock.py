"""A server whose clock jumps for real (libfaketime, where it is installed)."""

from __future__ import annotations

import ctypes.util
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest

from app.contracts import JobState, Progress
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state
from tests.playing import Player
from tests.processes import wait_until

LIBRARY = next(iter(glob("/usr/lib/*/faketime/libfaketime.so.1")), ctypes.util.find_library("faketime"))
LEASE = 0.5

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        LIBRARY is None, reason="libfaketime is not installed; test_jobs jumps what is stored"
    ),
]


class Clock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: int) -> None:
        """The server's clock from now on, against ours."""
        self._file.write_text(f"{seconds:+d}\n")


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def server(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedRedis]:
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with EmbeddedRedis(tmp_path / "data") as server:
        yield server


@pytest.fixture
def state(server: EmbeddedRedis, tmp_path: Path) -> Iterator[State]:
    state = open_state(Settings(redis_url=server.url, data_url=str(tmp_path)), outage_seconds=20)
    yield state
    state.close()


@pytest.fixture
def player(state: State, server: EmbeddedRedis, tmp_path: Path) -> Player:
    return Player(state, Settings(redis_url=server.url, data_url=str(tmp_path)))


def watch(state: State) -> list[str]:
    return state.jobs.reap(3, lease_seconds=LEASE, longest_gap_seconds=0.4)


@pytest.mark.parametrize("jump", [-7200, 7200], ids=["back", "forward"])
def test_a_jump_takes_no_job_from_a_living_worker_and_every_one_from_a_dead(
    state: State, player: Player, clock: Clock, jump: int
) -> None:
    player.dataset()
    player.queue()
    claim = player.claim(lease_seconds=LEASE)
    watch(state)
    before = state.client.time()[0]
    clock.set(jump)
    wait_until(lambda: abs(state.client.time()[0] - before) > 3600)
    assert watch(state) == []
    assert state.jobs.renew(claim, LEASE, None) == "ok"
    taken: list[str] = []
    wait_until(lambda: bool(taken.extend(watch(state)) or taken), 5 * LEASE)
    assert taken == [claim.job.id]


def test_tokens_rise_though_the_clock_goes_back_and_the_server_loses_its_tail(
    server: EmbeddedRedis, state: State, player: Player, clock: Clock
) -> None:
    """A power cut, and a clock that is behind at the next start: what a claim gave out was on disk before."""
    player.dataset()
    player.queue()
    claim = state.durably(lambda: state.jobs.claim("w", 30.0, "call"))
    assert claim is not None
    file = next((server.directory / "appendonlydir").glob("*.incr.aof"))
    promised = file.stat().st_size
    state.jobs.end(claim, JobState.SUCCEEDED, progress=Progress(phase="done"))
    clock.set(-7200)
    server.kill()
    wait_until(lambda: server.poll() is not None)
    file.write_bytes(file.read_bytes()[:promised])
    server.start()
    held = state.jobs.get(claim.job.id)
    assert held.state is JobState.RUNNING
    assert state.jobs.renew(claim, 0.01, None) == "ok"
    wait_until(lambda: bool(state.jobs.reap(3)))
    assert player.claim().token > claim.token


def test_workers_are_there_by_the_servers_clock(state: State, clock: Clock) -> None:
    clock.set(7200)
    state.jobs.present.beat("before the jump", 60.0)
    clock.set(0)
    state.jobs.present.beat("w", 5.0)
    assert state.jobs.present.count() == 1
