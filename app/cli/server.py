"""The API as one uvicorn process."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType

import uvicorn

from app.cli.environment import load_settings
from app.logs import configure_logging, get_logger
from app.settings import refuse_open_bind
from app.store.api_keys import KeyArchive
from app.up import address_of, listen

LAST_REQUESTS_SECONDS = 3
"""What running requests get at the end; streams of job events would go on for ever."""


def run_api(host: str, port: int, fd: int | None) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        fd: a listening socket that `gradsift up` holds; `host` and `port` then only name it.

    Raises:
        GradSiftError: `unsafe_bind`, `port_in_use`, `cannot_listen`.
    """
    settings = load_settings()
    refuse_open_bind(host, settings, KeyArchive(settings.data_url).any_unrevoked)
    configure_logging(settings, part="api")
    listener = listen(host, port) if fd is None else socket.socket(fileno=fd)
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=LAST_REQUESTS_SECONDS,
    )
    # uvicorn raises the signal again once it has stopped; that is a clean end.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    get_logger("gradsift.api").info("listening", address=address_of(host, listener))
    uvicorn.Server(config).run(sockets=[listener])


def _end(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)
