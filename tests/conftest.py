"""A real Valkey for the whole session; every test has keys and files of its own."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from app.store.embedded import EmbeddedRedis
from app.store.state import State, open_state
from tests.playing import Player

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell makes what it runs in the background deaf to Ctrl-C, and so whatever the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def make_settings(redis_url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a service of this test alone; what is given differs from the defaults."""
    own = f"t{uuid.uuid4().hex[:8]}"

    def make(**given: object) -> Settings:
        values: dict[str, object] = {"redis_url": redis_url, "data_url": str(tmp_path), "key_prefix": own}
        return Settings.model_validate(values | given)

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture
def state(settings: Settings) -> Iterator[State]:
    state = open_state(settings)
    yield state
    state.close()


@pytest.fixture
def player(state: State, settings: Settings) -> Player:
    return Player(state, settings)
