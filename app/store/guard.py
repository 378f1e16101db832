"""Runs a command that dies with its parent, also when the parent is killed with SIGKILL.

    python guard.py --parent PID -- COMMAND [ARG ...]

On Linux the kernel is asked for it (PR_SET_PDEATHSIG, kept across exec) and the command takes this
process's place. Elsewhere this process stays between the two and watches. The kernel's promise is bound
to the *thread* that started the process, so start guarded commands from a thread that stays (the main one).

Only the standard library and nothing slow is imported: this runs before every part of the service.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.2
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def guarded(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` as a child which dies with the calling process.

    `-I -S` leave out site-packages and the environment: the guard starts in a few milliseconds and sees
    no module of ours under a name of the standard library's.
    """
    guard = [sys.executable, "-I", "-S", os.path.abspath(__file__), "--parent", str(os.getpid()), "--"]
    return [*guard, *command]


def die_with_parent(parent: int | None = None) -> None:
    """Ties the calling process to the life of its parent; call it first thing in a child process.

    Args:
        parent: the pid that started this process, where the caller knows it: a parent that died before
            this call is then noticed too.
    """
    parent = os.getppid() if parent is None else parent
    if sys.platform == "linux":
        _ask_kernel()
        _die_if_orphan(parent)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), name="parent-watch", daemon=True).start()


def _ask_kernel() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")


def _die_if_orphan(parent: int) -> None:
    # The parent may have died before the kernel was asked, and then no signal ever comes.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_parent(parent: int) -> None:
    tick = threading.Event()
    while not tick.wait(WATCH_SECONDS):
        _die_if_orphan(parent)


def run_watched(command: Sequence[str], parent: int) -> int:
    """Runs `command`, kills it once `parent` is gone; returns its exit code as a shell would give it."""
    import subprocess  # not needed on Linux, where the guard must start fast

    child = subprocess.Popen(list(command), close_fds=False)

    def forward(signum: int, _frame: FrameType | None) -> None:
        child.send_signal(signum)

    for signum in _FORWARDED:
        signal.signal(signum, forward)
    while True:
        try:
            code = child.wait(timeout=WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.kill()
        else:
            return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    parent = os.getppid()
    rest = list(arguments)
    if rest[:1] == ["--parent"] and len(rest) > 1 and rest[1].isdigit():
        parent, rest = int(rest[1]), rest[2:]
    if rest[:1] != ["--"] or len(rest) < 2:
        sys.stderr.write("usage: guard [--parent PID] -- COMMAND [ARG ...]\n")
        return 2
    command = rest[1:]
    if sys.platform != "linux":
        return run_watched(command, parent)
    die_with_parent(parent)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"guard: {command[0]}: {error.strerror}\n")
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
