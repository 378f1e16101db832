"""Questions about real processes, for the tests of what starts and stops them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def running(pid: int) -> bool:
    """Whether `pid` lives. A zombie does not: in a container nobody may be there to reap an orphan."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:  # gone between opening the file and reading it
        return False
    except FileNotFoundError:
        return Path("/proc/self").exists() is False
    return state != "Z"


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    """A real Python process running `code`, its output readable by line."""
    command = [sys.executable, "-u", "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]
