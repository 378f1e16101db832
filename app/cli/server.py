"""The API as one uvicorn process."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType

import uvicorn

from app.api.serving.allocator import bound_allocator
from app.api.serving.limits import Limits, room_for_connections
from app.api.serving.protocol import connection_kind
from app.api.serving.server import DrainingServer
from app.cli.environment import load_settings
from app.logs import configure_logging, get_logger
from app.main import create_app
from app.settings import refuse_open_bind
from app.store.api_keys import KeyArchive
from app.up import address_of, listen

SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter from the event loop, which every request waits for."""


def run_api(host: str, port: int, fd: int | None) -> None:
    """Serves until SIGTERM or Ctrl-C, and answers then whom it has accepted.

    Args:
        fd: a listening socket that `gradsift up` holds; `host` and `port` then only name it.

    Raises:
        GradSiftError: `unsafe_bind`, `port_in_use`, `cannot_listen`.
    """
    bound_allocator()
    settings = load_settings()
    refuse_open_bind(host, settings, KeyArchive(settings.data_url).any_unrevoked)
    configure_logging(settings, part="api")
    listener = listen(host, port) if fd is None else socket.socket(fileno=fd)
    app = create_app(settings)
    stopping = app.state.service.stopping
    config = uvicorn.Config(
        app,
        http=connection_kind(stopping, Limits.of(settings), app.state.admission),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=settings.keep_alive_seconds,
        server_header=False,
    )
    # uvicorn raises the signal again once it has stopped; that is a clean end.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    room_for_connections(settings.max_connections)
    sys.setswitchinterval(SWITCH_SECONDS)
    get_logger("gradsift.api").info("listening", address=address_of(host, listener))
    server = DrainingServer(
        config,
        stopping,
        app.state.admission,
        drain_seconds=settings.drain_seconds,
        last_seconds=settings.shutdown_seconds,
    )
    server.run(sockets=[listener])


def _end(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)
