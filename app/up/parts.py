"""The parts of a service that a supervisor runs: commands, and the embedded server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

from app.store.embedded import EmbeddedRedis
from app.store.guard import guarded


class Part(Protocol):
    """One process (with its children) of the service.

    `grace` is how long it may take to end by itself, `hurried_grace` the same once the user insists.
    `ready` says whether what comes after may start, and raises where the part knows why it never will be.
    """

    name: str
    grace: float
    hurried_grace: float

    @property
    def waiting_for(self) -> str: ...
    def launch(self) -> None: ...
    def ready(self) -> bool: ...
    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


class CommandPart:
    """A command in a process group of its own, which dies with this process.

    Not in a session: Linux may share the cores between sessions first, however nice a worker is.
    """

    hurried_grace = 0.0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        grace: float,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.grace = grace
        self._command = list(command)
        self._env = dict(env)
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._swept = False

    @property
    def waiting_for(self) -> str:
        return ""

    def launch(self) -> None:
        self._process = subprocess.Popen(
            guarded(self._command),
            env=self._env,
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for the supervisor alone
            pass_fds=self._pass_fds,
        )
        self._swept = False

    def ready(self) -> bool:
        return True

    def poll(self) -> int | None:
        if self._process is None:
            return None
        status = self._process.poll()
        if status is not None and not self._swept:
            self.kill()  # what it left of its group, such as the pool of a killed worker
            self._swept = True  # once: later the number may be another process's
        return status

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and not self._swept:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None


class ServerPart:
    """The embedded server; its own `stop` comes last and gives the data directory back."""

    name = "redis"
    grace = 20.0
    hurried_grace = 3.0
    waiting_for = "its data to be loaded"

    def __init__(self, server: EmbeddedRedis) -> None:
        self._server = server
        self.launch = server.launch
        self.ready = server.ready
        self.poll = server.poll
        self.terminate = server.terminate
        self.kill = server.kill
        self.close = server.stop


def describe_ending(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
