"""The label slips that are known from outside: the stars contradict the recommendation."""

from __future__ import annotations

from collections.abc import Mapping


def is_slip(row: Mapping[str, str]) -> bool:
    """Two stars or fewer but recommended, or four or more but not recommended."""
    stars, recommended = int(row["rating"]), row["recommended"] == "1"
    return (stars <= 2 and recommended) or (stars >= 4 and not recommended)
