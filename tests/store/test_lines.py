"""Lines: a worker's death is seen by its connection, and nothing else is taken for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from app.store import lines
from app.store.embedded import EmbeddedRedis
from app.store.lines import Line, LineWatch
from app.store.state import State, open_state
from tests.playing import Player
from tests.processes import wait_until

GRACE = 0.2


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "GRACE_SECONDS", GRACE)


@pytest.fixture
def make_line(state: State) -> Iterator[Callable[[str], Line]]:
    made: list[Line] = []

    def make(worker: str) -> Line:
        made.append(line_of(state, worker))
        made[-1].keep()
        return made[-1]

    yield make
    for line in made:
        line.drop()


def line_of(state: State, worker: str) -> Line:
    return Line(state.client, state.keys.jobs, worker)


def watch_of(state: State) -> LineWatch:
    return LineWatch(state.client, state.keys.jobs)


def lost(watch: LineWatch, *workers: str) -> list[str]:
    """What a watch that looks all the time says within three times the grace."""
    end, told = time.monotonic() + 3 * GRACE, []
    while time.monotonic() < end:
        told += watch.lost(workers)
        time.sleep(GRACE / 10)
    return told


def test_a_line_that_ends_is_told_once(state: State, make_line: Callable[[str], Line]) -> None:
    watch, first = watch_of(state), make_line("w1")
    make_line("w2")
    assert lost(watch, "w1", "w2") == []
    first.drop()
    assert lost(watch, "w1", "w2") == ["w1"]
    first.keep()
    assert lost(watch, "w1", "w2") == []
    first.drop()
    assert lost(watch, "w1", "w2") == ["w1"], "it came back, and is watched again"


def test_who_was_never_seen_is_not_missed(state: State, make_line: Callable[[str], Line]) -> None:
    make_line("w1").drop()
    assert lost(watch_of(state), "w1", "w2") == []


def test_who_comes_back_in_time_is_not_missed(state: State, make_line: Callable[[str], Line]) -> None:
    watch, line = watch_of(state), make_line("w1")
    assert watch.lost(["w1"]) == []
    state.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert watch.lost(["w1"]) == []
    line.keep()
    assert lost(watch, "w1") == []


def test_a_server_that_was_started_again_has_nobody_to_miss(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        state = open_state(Settings(redis_url=server.url, data_url=str(tmp_path)), outage_seconds=20)
        watch, line = watch_of(state), line_of(state, "w1")
        line.keep()
        assert watch.lost(["w1"]) == []
        server.kill()
        wait_until(lambda: server.poll() is not None)
        server.start()
        assert lost(watch, "w1") == [], "its worker had no time to come back"
        line.keep()
        assert watch.lost(["w1"]) == []
        line.drop()
        assert lost(watch, "w1") == ["w1"]
        state.close()


def test_a_user_who_may_not_ask_leaves_it_to_the_leases(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        state = open_state(Settings(redis_url=server.url, data_url=str(tmp_path)))
        watch, line = watch_of(state), line_of(state, "w1")
        line.keep()
        assert watch.lost(["w1"]) == []
        state.client.acl_setuser("default", commands=["-pubsub"], enabled=True)
        line.drop()
        assert lost(watch, "w1") == []
        state.client.acl_setuser("default", commands=["+pubsub"], enabled=True)
        assert lost(watch, "w1") == [], "its line has not been seen since"
        state.close()


def test_who_has_jobs(state: State, player: Player) -> None:
    player.dataset(name="a")
    player.queue("a")
    assert state.jobs.holders() == set()
    claim = state.jobs.claim("w1", 30)
    assert claim is not None
    assert state.jobs.holders() == {"w1"}
    assert state.jobs.note_death("w1", "killed") == claim.job.id
    assert state.jobs.reap(3) == [claim.job.id]
    assert state.jobs.holders() == set()
