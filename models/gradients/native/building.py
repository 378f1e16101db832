"""Compiles the kernels once for this machine, where it has a C compiler; without one there are none."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

_SOURCES = ("outer.c", "rows.c", "layer_norm.c")
_HEADER = "vectors.h"
# No -ffast-math: a NaN must stay one. Sums may be reordered, as they are by any fast matrix product.
_FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fPIC", "-fopenmp", "-ffp-contract=fast"),
    *("-fno-signed-zeros", "-fno-trapping-math", "-fassociative-math"),
)
_COMPILE_SECONDS = 60
log = logging.getLogger(__name__)


def load_library() -> ctypes.CDLL | None:
    """The compiled kernels, from the user's cache or made anew; None where they cannot be had.

    They are only compiled, not linked, with OpenMP: so they take the threads of the OpenMP library that torch
    has loaded, instead of bringing a second one beside it.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or os.name != "posix":
        return None
    try:
        cache = _private_cache()
        if cache is None:
            with tempfile.TemporaryDirectory(prefix="gradsift-") as folder:
                return ctypes.CDLL(str(_built(compiler, Path(folder))))
        return ctypes.CDLL(str(_built(compiler, cache)))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        log.warning(
            "The CPU kernels cannot be built; the slower torch forms are used. %s", said.strip()[-500:]
        )
        return None


def _private_cache() -> Path | None:
    """A folder that nobody else may write to: what lies there is loaded as code."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "gradsift"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    found = folder.stat()
    mine = found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return folder if mine and os.access(folder, os.W_OK) else None


def _built(compiler: str, folder: Path) -> Path:
    here = Path(__file__).parent
    texts = [(here / name).read_bytes() for name in (*_SOURCES, _HEADER)]
    library = folder / f"kernels-{_fingerprint(compiler, texts)}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(dir=folder) as work:
        objects = [Path(work) / f"{name}.o" for name in _SOURCES]
        for name, made in zip(_SOURCES, objects, strict=True):
            _run([compiler, *_FLAGS, "-c", str(here / name), "-o", str(made)])
        linked = Path(work) / "kernels.so"
        _run([compiler, "-shared", *map(str, objects), "-o", str(linked)])
        linked.replace(library)  # several workers may do this at once
    return library


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMPILE_SECONDS)


def _fingerprint(compiler: str, texts: list[bytes]) -> str:
    """Of the sources, the compiler and the processor: a home folder may be shared by unlike machines."""
    digest = hashlib.sha256("\0".join((*_FLAGS, compiler, platform.machine(), _processor())).encode())
    for text in texts:
        digest.update(text)
    return digest.hexdigest()[:20]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
