"""From the values of a field to slices: a few categories, or ranges of numbers, with names to read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Value = str | int | float | bool
MOST_CATEGORIES = 20
MOST_NUMBERS = 5
"""Distinct numbers that are slices of their own, such as stars; more are cut into ranges."""
RANGES = 4
SIZES = ((1, 1), (2, 4), (5, 9), (10, 19), (20, None))
NONE, OTHER = "(none)", "(other)"


def sliced_values(values: Sequence[Value | None]) -> tuple[list[str], Ints]:
    """Names of the slices, and (n,) which one each value is in.

    Numbers of more than 5 kinds: quartiles, equal numbers together. Strings that all read as numbers too, as
    CSV has nothing else, if they are of more than 20 kinds. Otherwise each kind, the most frequent first and
    the rest together as `(other)`; numbers in their order. `(none)`: where there is no value.
    """
    present = [value for value in values if value is not None]
    numbers = [_number(value) for value in present]
    kinds, known = (
        len(set(map(_text, present))),
        np.array([value is not None for value in values], dtype=bool),
    )
    sent = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)
    if present and None not in numbers and kinds > (MOST_NUMBERS if sent else MOST_CATEGORIES):
        names, inside = _ranges(np.array(numbers, dtype=np.float64))
    else:
        names, inside = _categories([_text(value) for value in present], in_order=sent)
    codes = np.full(len(values), len(names), dtype=np.int64)
    codes[known] = inside
    return ([*names, NONE] if not known.all() else names), codes


def sliced_sizes(sizes: Sequence[int | None]) -> tuple[list[str], Ints]:
    """Likewise of sizes of groups; `(none)`: of no group."""
    names = [_range_name(str(low), None if high is None else str(high)) for low, high in SIZES]
    starts = np.array([low for low, _ in SIZES])
    held = np.array([0 if size is None else size for size in sizes], dtype=np.int64)
    codes = np.searchsorted(starts, held, side="right") - 1
    return [*names, NONE], np.where(held == 0, len(names), codes)


def _categories(texts: Sequence[str], *, in_order: bool) -> tuple[list[str], Ints]:
    counts = Counter(texts)
    names = sorted(counts, key=lambda text: (-counts[text], text))
    if in_order:
        names.sort(key=float)
    place = {text: min(code, MOST_CATEGORIES) for code, text in enumerate(names)}
    codes = np.array([place[text] for text in texts], dtype=np.int64)
    return (names if len(names) <= MOST_CATEGORIES else [*names[:MOST_CATEGORIES], OTHER]), codes


def _ranges(numbers: NDArray[np.float64]) -> tuple[list[str], Ints]:
    """Each named by its lowest and its highest number."""
    cuts = np.unique(np.quantile(numbers, np.arange(1, RANGES) / RANGES, method="inverted_cdf"))
    codes = np.searchsorted(cuts, numbers, side="left")
    _, codes = np.unique(codes, return_inverse=True)
    ends = [(part.min(), part.max()) for part in (numbers[codes == code] for code in range(codes.max() + 1))]
    return _range_names(ends), codes


def _range_names(ends: Sequence[tuple[float, float]]) -> list[str]:
    """As short as they can be told apart."""
    for digits in (4, 9, 17):
        names = [_range_name(*(_shown(end, digits) for end in pair)) for pair in ends]
        shown = {_shown(end, digits) for pair in ends for end in set(pair)}
        if len(shown) == len({end for pair in ends for end in pair}):
            break
    return names


def _range_name(low: str, high: str | None) -> str:
    if high is None:
        return f"{low} or more"
    return low if low == high else f"{low} to {high}"


def _shown(number: float, digits: int) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else f"{number:.{digits}g}"


def _number(value: Value) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _shown_exactly(value)


def _shown_exactly(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
