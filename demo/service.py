"""`gradsift up` as a child process in a temporary directory, gone when the block is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 120.0
STOP_SECONDS = 60.0
TAIL_LINES = 40
_ADDRESS = re.compile(r"ready at (http://\S+)")


class ServiceFailed(Exception):
    """The service did not start, died, or ended badly."""


@dataclass(frozen=True)
class Service:
    """A running service: where it answers and what it writes."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def check_alive(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise ServiceFailed(f"gradsift up ended by itself with exit code {code}")


@contextmanager
def running_service(settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Starts the service on a free port and waits until it is ready. settings: more of its environment.

    Its state and its log live in a temporary directory that is removed at the end. When the block fails, the
    end of the log goes to stderr first.

    Raises:
        ServiceFailed: it did not become ready in time, or did not end with exit code 0.
        TimeoutExpired: it did not stop in time and was killed.
    """
    with tempfile.TemporaryDirectory(prefix="gradsift-demo-") as name:
        directory = Path(name)
        log = directory / "service.log"
        process = _start(directory, log, settings or {})
        try:
            yield Service(_wait_for_address(process, log), process, log)
        except (KeyboardInterrupt, SystemExit):
            _stop(process)
            raise
        except BaseException:
            _stop(process)
            _print_tail(log)
            raise
        code = _stop(process)
        if code != 0:
            _print_tail(log)
            raise ServiceFailed(f"gradsift up ended with exit code {code}")


def _start(directory: Path, log: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # The settings of the caller's own service must not leak in, and nothing may be fetched or cached at home.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GRADSIFT_")}
    env |= {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(directory / "hub"),
        "GRADSIFT_LOG_FORMAT": "console",
        **settings,
    }
    command = [str(Path(sys.executable).with_name("gradsift")), "up", "--port", "0"]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches this program only, which then stops the service in order.
        return subprocess.Popen(
            [*command, "--data-dir", str(directory / "data")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        found = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
        if process.poll() is not None:
            raise ServiceFailed(f"gradsift up ended with exit code {process.returncode} before it was ready")
        time.sleep(0.1)
    raise ServiceFailed(f"gradsift up was not ready within {READY_SECONDS:.0f} s")


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Asks the service to stop all its parts; kills it if it does not, or at a second Ctrl-C."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _print_tail(log: Path) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    print(f"--- the last {min(len(lines), TAIL_LINES)} lines of the service's log ---", file=sys.stderr)
    print("\n".join(lines[-TAIL_LINES:]), file=sys.stderr)
