"""The splits of a dataset: the rule, what it came to, and whether a job has used them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.contracts import Dataset
from app.store.state import State


def shown_splits(state: State, dataset: Dataset) -> dict[str, Any]:
    """As clients see them."""
    counts: Counter[str] = Counter()
    by_label: dict[str | None, Counter[str]] = {}
    for row in state.samples.counts(dataset):
        counts[row["split"]] += row["count_all"]
        by_label.setdefault(row["label"], Counter())[row["split"]] += row["count_all"]
    labels = sorted(by_label, key=lambda label: (label is None, label))
    rule = state.splits.rule(dataset)
    return {
        "rule": None if rule is None else rule.model_dump(),
        "splits": _whole(counts),
        "labels": [{"label": label, "splits": _whole(by_label[label])} for label in labels],
        "used_by": state.splits.used_by(dataset),
    }


def _whole(counts: Counter[str]) -> dict[str, int]:
    return {"train": 0, "validation": 0, "test": 0} | counts
