"""The embedded default: a real Valkey (or Redis) server beside the data, started and stopped by us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import GradSiftError, Unavailable
from app.store.embedded_config import find_server, socket_path, write_config
from app.store.embedded_lock import DirectoryLock, unusable_directory
from app.store.guard import guarded

START_SECONDS = 30.0
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.01
_TAIL_LINES = 8


class EmbeddedRedis:
    """A server of its own for one data directory, append-only file on, reachable by a unix socket only.

        with EmbeddedRedis(data_dir) as server:
            client = redis.Redis.from_url(server.url)

    It runs in its own session (a Ctrl-C of the terminal does not reach it) and dies with the process that
    started it, also by SIGKILL. On Linux that is bound to the starting thread: start it from a thread that
    stays. `start` may be called again after the server died: the directory stays locked in between.

    Raises (from `start`):
        Conflict: `already_running`; another process has the directory.
        GradSiftError: `data_dir_unusable`, `no_redis_server`.
        Unavailable: `redis_start_failed`, with the end of the server's log.
    """

    def __init__(self, data_dir: Path | str, lock: DirectoryLock | None = None) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.directory = self.data_dir / "redis"
        self.log = self.directory / "server.log"
        self._lock = DirectoryLock(self.data_dir) if lock is None else lock
        self._socket: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """For redis-py: `unix:///path?db=0`. Stays the same when the server is started again."""
        return f"unix://{quote(os.fsencode(self._socket_path()))}?db=0"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def poll(self) -> int | None:
        """The exit status of a server that has ended; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> Self:
        """Launches the server and waits until it answers, however long it needs to load its data."""
        self.launch()
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self) -> None:
        """Starts the process without waiting for it; `ready` tells when it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        self._lock.acquire()
        try:
            binary = find_server()
            config = self._prepare()
            self._process = subprocess.Popen(
                guarded([str(binary), str(config)]),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,  # as app/up/parts.py has it, and for the same reason
                pass_fds=(self._lock.fileno(),),
            )
        except OSError as error:
            self._lock.release()
            raise unusable_directory(self.data_dir, error) from error
        except BaseException:
            self._lock.release()
            raise

    def ready(self) -> bool:
        """Whether the server answers with its data loaded.

        Raises:
            Unavailable: `redis_start_failed`; the process has ended.
        """
        if self.poll() is not None:
            raise self._start_failed(f"ended with status {self.poll()}")
        return self._answer() == "ready"

    def terminate(self) -> None:
        """Asks for a clean end: like SHUTDOWN, SIGTERM writes and syncs the append-only file first."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self, grace: float = STOP_SECONDS) -> None:
        """Ends the server, cleanly if it manages within `grace` seconds, and gives the directory back."""
        if self._process is not None:
            self.terminate()
            try:
                self._process.wait(timeout=grace)
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
            self._process = None
        self._remove_socket()
        self._lock.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> Path:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        path = self._socket_path()
        # What a killed predecessor left: the lock is ours, so nobody listens there.
        path.unlink(missing_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        return write_config(self.directory, path, self.log)

    def _socket_path(self) -> Path:
        if self._socket is None:
            self._socket = socket_path(self.directory)
        return self._socket

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self._answer() == "loading":
                deadline = time.monotonic() + START_SECONDS
            elif time.monotonic() > deadline:
                raise self._start_failed(f"did not answer within {START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _answer(self) -> str:
        """`ready`, `loading` or `silent`."""
        retry = Retry(NoBackoff(), 0)
        try:
            with redis.Redis(
                unix_socket_path=str(self._socket_path()), socket_timeout=2.0, retry=retry
            ) as client:
                client.ping()
        except redis.BusyLoadingError:
            return "loading"
        except (redis.ConnectionError, redis.TimeoutError):
            return "silent"
        return "ready"

    def _start_failed(self, what: str) -> GradSiftError:
        return Unavailable(
            "redis_start_failed",
            f"the embedded Redis server {what}. {self._log_tail()}",
            remedy=f"Correct what the log names ({self.log}), or set GRADSIFT_REDIS_URL.",
        )

    def _log_tail(self) -> str:
        """The last lines that this start wrote: older ones would blame an earlier run."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError as error:
            return f"It left no log: {error.strerror}."
        if not lines:
            return "It wrote nothing to its log."
        return "The end of its log:\n" + "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            # The whole session: where the guard stays between us and the server, both get it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)

    def _remove_socket(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.unlink(missing_ok=True)
            if self._socket.parent != self.directory:
                self._socket.parent.rmdir()
        self._socket = None
