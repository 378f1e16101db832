"""Files that appear when they are whole."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from app.errors import GradSiftError


@contextmanager
def destination(output: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that gets its name once it is whole."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise unwritable(output, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, output)
    except OSError as error:
        raise unwritable(output, error) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _umask() -> int:
    """Temporary files are private, an export is not. A umask can only be read by setting one."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def unwritable(output: Path, error: OSError) -> GradSiftError:
    return GradSiftError(
        "unwritable_file",
        f"cannot write {output}: {error.strerror or error}",
        remedy="Name a file in a directory that you may write to.",
    )
