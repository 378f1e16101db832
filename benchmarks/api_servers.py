"""The processes of the API benchmark, each on cores of its own choice, and what they have used."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_SECONDS


class ServerProcess:
    """A started server: its process, its port (0: not known), its memory."""

    def __init__(self, pid: int, port: int = 0) -> None:
        self.pid = pid
        self.port = port

    def memory_mb(self, field: str) -> float:
        """`VmRSS`, or `VmHWM`: the peak since `forget_peak`."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise ValueError(field)

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


@contextmanager
def started(
    arguments: list[str], cores: Collection[int], environment: Mapping[str, str]
) -> Iterator[ServerProcess]:
    """Runs `python ARGUMENTS --port PORT` bound to these cores, until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *arguments, "--port", str(port)],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )
    os.sched_setaffinity(process.pid, cores)
    try:
        _await_port(port, process)
        yield ServerProcess(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no server on port {port}")


def empty_app() -> FastAPI:
    """What the hot route is measured against: a FastAPI route that does nothing, and no middleware."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.collect()
        gc.freeze()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/empty")
    async def empty() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    """Serves the empty route with the settings of `gradsift serve`."""
    uvicorn.run(
        empty_app(),
        port=int(sys.argv[sys.argv.index("--port") + 1]),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
