"""Real processes of the API."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.settings import Settings
from tests.serving.process import Serve


@pytest.fixture
def started(make_settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Callable[..., Serve]]:
    """Starts `gradsift serve` with settings that differ from the defaults; all on the same state."""
    with ExitStack() as stack:

        def start(*, listener: socket.socket | None = None, **given: str) -> Serve:
            log = tmp_path / f"serve-{len(list(tmp_path.glob('serve-*')))}.log"
            env = {f"GRADSIFT_{name.upper()}": value for name, value in given.items()}
            serve = Serve(make_settings(), log, listener=listener, **env)
            stack.callback(serve.stop)
            return serve

        yield start
