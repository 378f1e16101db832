"""The state of a service for a command that works on it: beside a running one, or while nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import Conflict, GradSiftError, Unavailable
from app.settings import Settings
from app.store.connections import answers
from app.store.embedded import EmbeddedRedis
from app.store.locations import is_url
from app.store.state import State, open_state
from app.up.everything import external_redis, where_state_lives


@contextmanager
def attached(
    settings: Settings, data_dir: Path | None, *, alone: bool = False, new: bool = False
) -> Iterator[State]:
    """The stores of the service.

    With GRADSIFT_REDIS_URL that server is used. Otherwise the embedded one of the data directory: the one
    that `gradsift up` runs there, or, where nothing runs, one that is started for as long as this lasts.

    Args:
        alone: refuse to work beside a running `gradsift up`.
        new: a data directory that is not there is made.

    Raises:
        Conflict: `already_running`.
        GradSiftError: `data_dir_unusable`.
        Unavailable: Redis does not answer.
    """
    directory, data_url = where_state_lives(settings, data_dir)
    if not (new or is_url(data_url) or directory.is_dir()):
        raise GradSiftError(
            "data_dir_unusable",
            f"there is no data directory {directory}",
            remedy="Name the directory that the service uses (--data-dir, or GRADSIFT_DATA_URL).",
        )
    settings = settings.model_copy(update={"data_url": data_url})
    if external_redis(settings):
        with _opened(settings) as state:
            yield state
        return
    server = EmbeddedRedis(directory)
    settings = settings.model_copy(update={"redis_url": server.url})
    try:
        server.start()
    except Conflict:
        if alone:
            raise
        with _opened(settings) as state:
            yield state
        return
    try:
        with _opened(settings) as state:
            yield state
    finally:
        server.stop()


@contextmanager
def _opened(settings: Settings) -> Iterator[State]:
    state = open_state(settings)
    try:
        if not answers(state.client):
            raise Unavailable("service_unavailable", "Redis does not answer")
        yield state
    finally:
        state.close()
