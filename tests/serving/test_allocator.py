"""What the API has glibc do with freed memory. In a process of its own each: it cannot be undone."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc of 2021 or later"
)
START = """
    import ctypes
    from pathlib import Path
    from app.api.serving.allocator import bound_allocator, give_memory_back

    class Figures(ctypes.Structure):
        names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

    libc = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.mallinfo2.restype = Figures

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

"""
LARGE_AGAIN = """
    libc.free(libc.malloc(2**23))
    before = libc.mallinfo2().hblkhd
    libc.malloc(2**23)
    print(libc.mallinfo2().hblkhd - before)
"""


def said(script: str, **environment: str) -> list[int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", dedent(START) + dedent(script)],
        env=clean | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [int(line) for line in done.stdout.split()]


def test_a_large_block_is_mapped_by_itself_however_many_were_freed() -> None:
    assert said("bound_allocator()" + dedent(LARGE_AGAIN))[0] >= 2**23
    assert said(LARGE_AGAIN)[0] == 0, "glibc would have done so anyway"


def test_the_environment_has_the_last_word() -> None:
    script = "print(int(bound_allocator()))"
    assert said(script) == [1]
    assert said(script, MALLOC_ARENA_MAX="1") == [0]


def test_free_pages_between_blocks_that_live_are_given_back() -> None:
    script = """
        blocks = [(libc.malloc(2**16), ctypes.memset(libc.malloc(2000), 1, 2000)) for _ in range(500)]
        for large, _ in blocks:
            ctypes.memset(large, 1, 2**16)
            libc.free(large)
        before = resident()
        give_memory_back()
        print(before - resident())
    """
    assert said(script)[0] > 20 * 2**20
