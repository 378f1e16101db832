"""What a clean job may find wrong with a sample."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class SampleFlag(StrEnum):
    """docs/cleaning.md says when a sample has each of them."""

    EXACT_DUPLICATE = "exact_duplicate"
    CONFLICTING_LABEL = "conflicting_label"
    NEAR_DUPLICATE = "near_duplicate"
    EMPTY_TEXT = "empty_text"
    SHORT_TEXT = "short_text"
    NOT_NORMALISED = "not_normalised"
    HTML = "html"
    UNKNOWN_LABEL = "unknown_label"
    LEAK_TEXT = "leak_text"
    LEAK_GROUP = "leak_group"


BIT_OF_FLAG = {flag: 1 << position for position, flag in enumerate(SampleFlag)}
"""How flags are stored, 32 at most. The position of a flag is its bit: append only."""


def bits_of(flags: Iterable[SampleFlag]) -> int:
    bits = 0
    for flag in flags:
        bits |= BIT_OF_FLAG[flag]
    return bits


def flags_of(bits: int) -> list[SampleFlag]:
    return [flag for flag, bit in BIT_OF_FLAG.items() if bits & bit]
