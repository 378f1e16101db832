"""The service in this process, over HTTP semantics."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
import structlog
from fastapi.testclient import TestClient

from app.logs import configure_logging
from app.main import create_app
from app.settings import Settings
from tests.api.asking import Api, check_answer


@pytest.fixture
def serve(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Api]]:
    """Starts the service, with settings that differ from the defaults."""
    with ExitStack() as stack:

        def start(*, headers: Mapping[str, str] | None = None, **given: object) -> Api:
            settings = make_settings(**given)
            app = create_app(settings)
            http = TestClient(app, raise_server_exceptions=False, headers=dict(headers or {}))
            http.event_hooks = {"response": [check_answer]}
            stack.enter_context(http)
            return Api(http, app.state.service.state, settings)

        yield start


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """A service with the empty dataset `d`."""
    api = serve()
    assert api.put().status_code == 201
    return api


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the service logs, libraries included; logging is as it was afterwards."""
    root = logging.getLogger()
    handlers, level, lines = root.handlers[:], root.level, io.StringIO()
    configure_logging(Settings(log_level="DEBUG", log_format="json"), stream=lines)
    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
