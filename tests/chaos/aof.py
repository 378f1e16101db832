"""Cutting the tail of an append-only file, as a power cut may."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

MARKER = re.compile(rb"gs:fsync\r\n\$1\r\n1\r\n")
"""What the service writes before it waits for the disk: everything up to here it may take for durable."""


@dataclass(frozen=True)
class Cut:
    """`removed` bytes; `torn`: the end fell into the middle of a command."""

    removed: int
    torn: bool


def cut_tail(directory: Path, random_source: random.Random) -> Cut:
    """Cuts the newest incremental file at a random byte behind the last write that was promised to last.

    Once in four times it takes everything behind it.
    """
    path = _newest(directory)
    content = path.read_bytes()
    promised = max((found.end() for found in MARKER.finditer(content)), default=0)
    keep = promised if random_source.random() < 0.25 else random_source.randint(promised, len(content))
    path.write_bytes(content[:keep])
    return Cut(len(content) - keep, torn=keep > promised and keep not in _command_starts(content))


def _newest(directory: Path) -> Path:
    """The incremental file that the manifest names last."""
    manifest = next(directory.glob("*.manifest")).read_text()
    names = re.findall(r"^file (\S+) seq \d+ type i", manifest, flags=re.MULTILINE)
    return directory / str(names[-1])


def _command_starts(content: bytes) -> set[int]:
    """Offsets at which a command ends and the next begins."""
    starts, at = {0}, 0
    while at < len(content):
        end = content.find(b"\r\n", at)
        words = int(content[at + 1 : end])
        at = end + 2
        for _ in range(words):
            end = content.find(b"\r\n", at)
            at = end + 2 + int(content[at + 1 : end]) + 2
        starts.add(at)
    return starts
