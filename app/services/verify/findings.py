"""What `gradsift verify` finds, and how it makes sure of it beside a running service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.contracts import Dataset
from app.store.state import State

SHOWN_A_KEY = 5
"""Samples named of one key; the last finding says how many more there are."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `check`: which of the invariants, a stable word."""

    check: str
    detail: str
    dataset: str | None = None
    key: str | None = None
    sample: str | None = None


Findings = list[Finding]


def confirmed(state: State, dataset: Dataset, check: Callable[[], Findings]) -> Findings:
    """What a check still finds while nobody may change samples or sets.

    Without the lock, a check may meet a write half way between the two stores. With it, what it reads belongs
    together: so a suspicion is looked into again under the dataset's write lock, and only then reported.
    """
    if not check():
        return []
    with state.datasets.writing(dataset):
        return check()


def shortened(findings: Findings) -> Findings:
    """The first few findings of one key, and how many more there are."""
    more = len(findings) - SHOWN_A_KEY
    if more <= 0:
        return findings
    first = findings[0]
    rest = Finding(first.check, f"and {more} more samples of this key", first.dataset, first.key)
    return [*findings[:SHOWN_A_KEY], rest]


def named(state: State, dataset: Dataset, ordinals: Sequence[int]) -> dict[int, str]:
    """Ids of ordinals, for the report; `#<ordinal>` where no sample has it."""
    names = state.ids.names(dataset, ordinals)
    return {
        ordinal: f"#{ordinal}" if name is None else name[1]
        for ordinal, name in zip(ordinals, names, strict=True)
    }
