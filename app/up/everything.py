"""Which parts there are, where their state lives, and how each is started."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.errors import GradSiftError
from app.settings import Settings, refuse_open_bind
from app.store.api_keys import KeyArchive
from app.store.embedded import EmbeddedRedis
from app.store.embedded_lock import DirectoryLock
from app.up.api_part import ApiPart, address_of, listen
from app.up.parts import CommandPart, Part, ServerPart
from app.up.supervisor import Supervisor

WORKER_GRACE_SECONDS = 30.0
"""A worker that is told to stop finishes its step, writes a checkpoint and gives its job back."""
PREDICTOR_GRACE_SECONDS = 5.0
"""It has nothing to keep: the API, which its answers are for, has stopped by then."""
DRAIN = "GRADSIFT_DRAIN_SECONDS"
"""No load balancer stands before one machine, unless somebody says how long it takes to notice."""
DEFAULT_DATA_DIR = "gradsift-data"


@dataclass(frozen=True)
class Commands:
    """The command lines of the parts; the API's one gets the listening socket as a file descriptor."""

    worker: Sequence[str]
    predictor: Sequence[str]
    api: Callable[[str, int, int], Sequence[str]]


def run_up(
    settings: Settings, *, host: str, port: int, data_dir: Path | None, commands: Commands | None = None
) -> None:
    """Runs everything until a signal asks to stop, then returns.

    Args:
        port: 0 picks a free one.
        data_dir: where all state lives; GRADSIFT_DATA_URL, where that is a directory, when left out.
        commands: other programs in place of the real worker, predictor and API.

    Raises:
        GradSiftError: something that the user can act on; nothing is left running.
    """
    directory, data_url = where_state_lives(settings, data_dir)
    refuse_open_bind(host, settings, KeyArchive(data_url).any_unrevoked)
    commands = _own_commands() if commands is None else commands
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        with listen(host, port) as listener:
            _supervise(settings, commands, host, listener, lock, data_url)
    finally:
        lock.release()


def _supervise(
    settings: Settings,
    commands: Commands,
    host: str,
    listener: socket.socket,
    lock: DirectoryLock,
    data_url: str,
) -> None:
    address = address_of(host, listener)
    env = _environment(data_url)
    parts: list[Part] = []
    if not external_redis(settings):
        server = EmbeddedRedis(lock.data_dir, lock)
        env["GRADSIFT_REDIS_URL"] = server.url
        parts.append(ServerPart(server))
    api_command = commands.api(host, listener.getsockname()[1], listener.fileno())
    parts += [
        CommandPart("worker", commands.worker, env=env, grace=WORKER_GRACE_SECONDS),
        CommandPart("predictor", commands.predictor, env=env, grace=PREDICTOR_GRACE_SECONDS),
        ApiPart(
            api_command,
            listener,
            env=env,
            address=address,
            last_seconds=float(env[DRAIN]) + settings.shutdown_seconds,
        ),
    ]
    where = lock.data_dir if data_url == str(lock.data_dir) else data_url

    def announce() -> None:
        print(f"GradSift is ready at {address} (data in {where})", flush=True)

    Supervisor(parts, on_ready=announce).run()


def external_redis(settings: Settings) -> bool:
    return "redis_url" in settings.model_fields_set


def where_state_lives(settings: Settings, data_dir: Path | None) -> tuple[Path, str]:
    """The directory of the lock and the embedded server, and the place of the samples."""
    if data_dir is None and "://" in settings.data_url:
        return Path(DEFAULT_DATA_DIR).absolute(), settings.data_url
    directory = (Path(settings.data_url) if data_dir is None else data_dir).expanduser().absolute()
    return directory, str(directory)


def _environment(data_url: str) -> dict[str, str]:
    env = {DRAIN: "0", **os.environ, "GRADSIFT_DATA_URL": data_url, "PYTHONUNBUFFERED": "1"}
    # `-P` below keeps an `app` folder of the current directory from being taken for ours; a checkout that
    # is not installed must then be named.
    root = str(Path(__file__).resolve().parents[2])
    if root != sysconfig.get_paths()["purelib"]:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    return env


def require_worker_packages() -> None:
    """Raises GradSiftError (`worker_not_installed`) where only the API is installed. Imports nothing."""
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise GradSiftError(
            "worker_not_installed",
            f"the worker needs packages that are not installed: {', '.join(missing)}",
            remedy='pip install "gradsift[worker]"; the API alone needs none of them: gradsift serve.',
        )


def require_wandb(settings: Settings) -> None:
    """Raises GradSiftError (`wandb_not_installed`): better when a worker starts than when a training ends."""
    if settings.wandb_project is not None and find_spec("wandb") is None:
        raise GradSiftError(
            "wandb_not_installed",
            "GRADSIFT_WANDB_PROJECT is set, but the package wandb is not installed",
            remedy='pip install "gradsift[wandb]", or unset GRADSIFT_WANDB_PROJECT.',
        )


def _own_commands() -> Commands:
    require_worker_packages()
    cli = [sys.executable, "-P", "-m", "app.cli"]
    return Commands(
        worker=[*cli, "worker"],
        predictor=[*cli, "predictor"],
        api=lambda host, port, fd: [*cli, "serve", "--host", host, "--port", str(port), "--fd", str(fd)],
    )
