"""What is called durable outlives a kill that takes the tail of the append-only file; what is not is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import Unavailable
from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state
from tests.playing import Player
from tests.processes import wait_until

pytestmark = pytest.mark.timeout(60)


class Server:
    """An embedded server that can lose the end of its file."""

    def __init__(self, directory: Path) -> None:
        self.embedded = EmbeddedRedis(directory).start()

    def file(self) -> Path:
        return next((self.embedded.directory / "appendonlydir").glob("*.incr.aof"))

    def size(self) -> int:
        return self.file().stat().st_size

    def lose_tail(self, keep: int) -> None:
        self.embedded.kill()
        wait_until(lambda: self.embedded.poll() is not None)
        file = self.file()
        file.write_bytes(file.read_bytes()[:keep])
        self.embedded.start()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.embedded.stop()


@pytest.fixture
def state(server: Server, tmp_path: Path) -> Iterator[State]:
    settings = Settings(redis_url=server.embedded.url, data_url=str(tmp_path))
    state = open_state(settings, outage_seconds=20)
    yield state
    state.close()


def test_a_write_that_a_restart_lost_is_made_again(server: Server, state: State) -> None:
    keep, calls = server.size(), []

    def write() -> str:
        state.client.set("a", "b")
        calls.append(1)
        if len(calls) == 1:
            server.lose_tail(keep)
        return "answer"

    assert state.durably(write) == "answer"
    assert len(calls) == 2
    assert state.client.get("a") == b"b"


def test_a_restart_since_is_told_and_none_is_not(server: Server, state: State) -> None:
    since = state.durability.incarnation()
    state.client.set("a", "b")
    state.make_durable(since=since)
    server.lose_tail(server.size())
    state.make_durable()
    with pytest.raises(Unavailable):
        state.make_durable(since=since)


def test_durable_means_synced_though_waitaof_answers_early(server: Server, state: State) -> None:
    """The server's own sync comes up to a second later; ours must have happened before."""
    synced: list[Path] = []
    sync = state.durability._sync_files

    def noting() -> None:
        sync()
        synced.append(server.file())

    object.__setattr__(state.durability, "_sync_files", noting)
    state.client.set("a", "b")
    state.make_durable()
    assert synced == [server.file()]


def test_rows_whose_entries_a_restart_lost_are_refused_and_there_the_second_time(
    server: Server, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is not told that rows are stored whose ids the server has forgotten."""
    settings = Settings(redis_url=server.embedded.url, data_url=str(tmp_path))
    player = Player(state, settings)
    dataset = player.dataset([{"id": "a", "text": "t", "label": "x"}])
    commit = state.ids.commit
    keep = 0

    def losing(*args: object) -> None:
        nonlocal keep
        keep = server.size()
        commit(*args)  # type: ignore[arg-type]
        server.lose_tail(keep)

    rows = [{"id": "a", "text": "t", "label": "y"}, {"id": "b", "text": "t", "label": "y"}]
    with monkeypatch.context() as patch:
        patch.setattr(type(state.ids), "commit", lambda _self, *args: losing(*args))
        with pytest.raises(Unavailable):
            player.send(dataset, rows)
    assert state.ids.find(dataset, "b") is None
    report = player.send(dataset, rows)
    # The journal was on disk before the rows: the second request has finished the first one's batch.
    assert (report.created, report.updated, report.unchanged) == (0, 0, 2)
    found = [state.ids.find(dataset, sample) for sample in "ab"]
    assert [entry and entry.ordinal for entry in found] == [0, 1]


def test_a_dataset_that_is_registered_twice_is_one(state: State, tmp_path: Path) -> None:
    """As when the connection breaks after the server did what it was asked."""
    player = Player(state, Settings(data_url=str(tmp_path)))
    dataset = player.dataset()
    assert state.datasets.register(dataset) is True
    other = dataset.model_copy(update={"uid": "other"})
    assert state.datasets.register(other) is False
    assert state.datasets.get("d").uid == dataset.uid
