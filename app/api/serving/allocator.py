"""The C library's allocator, in a process that is to run for weeks.

glibc keeps what is freed between small blocks that live on, in up to eight arenas a core, and once blocks of
some MiB have been freed it takes the next ones from there too. What Lance needs for one write so stays with
the process, many times over. Where it is another C library, nothing is done.
"""

from __future__ import annotations

import ctypes
import os

LARGE_BYTES = 4 * 2**20
"""Such blocks are mapped one by one, and unmapped when they are freed. With 128 KiB, glibc's own first value,
a page of samples, for which whole columns are read, takes half as long again."""
ARENAS = 2
_OPTIONS = ((-1, LARGE_BYTES), (-3, LARGE_BYTES), (-8, ARENAS))
"""M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX of malloc.h."""
_libc = ctypes.CDLL(None)


def bound_allocator() -> bool:
    """To be called before there are threads. False where nothing is changed: the environment says what the
    allocator is to do, say."""
    set_option = getattr(_libc, "mallopt", None)
    if set_option is None or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    return all(set_option(option, value) for option, value in _OPTIONS)


def give_memory_back() -> None:
    """Returns free pages between blocks that live; takes some milliseconds."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
