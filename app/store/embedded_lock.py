"""One `gradsift up` a data directory: an advisory lock that names its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from app.errors import Conflict, GradSiftError

LOCK_NAME = "gradsift.lock"
LIVING_SECONDS = 0.5
DYING_SECONDS = 5.0
_POLL_SECONDS = 0.02


def unusable_directory(data_dir: Path, error: OSError) -> GradSiftError:
    return GradSiftError(
        "data_dir_unusable",
        f"cannot use the data directory {data_dir}: {error.strerror or error}",
        remedy="Name a directory that you may write to, on a disk with free space (--data-dir).",
    )


class DirectoryLock:
    """Holds `<data_dir>/gradsift.lock` (flock) with the holder's pid in it.

    The lock belongs to the open file, not to the process: handing `fileno()` to the server keeps the
    directory locked until both are gone, so a server that outlives its starter for a moment never shares
    its append-only file with a successor.

    Raises (from `acquire`):
        Conflict: `already_running`, naming the holder's pid.
        GradSiftError: `data_dir_unusable`, where the directory cannot be made or written.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.path = data_dir / LOCK_NAME
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError("the lock is not held")
        return self._fd

    def acquire(self) -> None:
        if self._fd is not None:
            return
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable_directory(self.data_dir, error) from error
        try:
            self._take(fd)
            _write_pid(fd)
        except OSError as error:
            os.close(fd)
            raise unusable_directory(self.data_dir, error) from error
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Gives the directory back. The file stays: removing it would let two processes lock two files."""
        if self._fd is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = None

    def _take(self, fd: int) -> None:
        asked = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _read_pid(fd)
                # A killed holder and its server need a moment to be gone; a living holder stays.
                patience = LIVING_SECONDS if holder is not None and _alive(holder) else DYING_SECONDS
                if time.monotonic() - asked > patience:
                    raise Conflict("already_running", self._held_by(holder)) from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _held_by(self, holder: int | None) -> str:
        who = "another process" if holder is None else f"process {holder}"
        return f"{who} already runs GradSift on {self.data_dir}"


def _write_pid(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
