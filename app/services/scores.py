"""SCORE and membership, from what Redis alone knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from app.contracts import REASONS, SET_BY_CODE, UNSCORED, Dataset, Lineage, SetVersion
from app.errors import NotFound, TooLarge
from app.store.scores import Found, Lookup
from app.store.state import State

MAX_IDS = 10_000


def scores(state: State, dataset: Dataset, ids: Sequence[str]) -> list[dict[str, Any] | None]:
    """One SCORE for each id, None where it is unknown.

    Raises:
        TooLarge: more than 10,000 ids.
    """
    if len(ids) > MAX_IDS:
        raise TooLarge("too_many_ids", f"{len(ids)} ids were asked for, the limit is {MAX_IDS}")
    if not ids:
        return []
    found = state.scores.lookup(dataset, ids)
    return [None if one is None else present(one, found) for one in found.found]


def score(state: State, dataset: Dataset, sample_id: str) -> dict[str, Any]:
    """Raises `NotFound("unknown_sample")`."""
    found = scores(state, dataset, [sample_id])[0]
    if found is None:
        raise NotFound("unknown_sample", f"dataset {dataset.name!r} has no sample {sample_id!r}")
    return found


def present(found: Found, lookup: Lookup) -> dict[str, Any]:
    """SCORE of the contract. A sample that has not been scored has visits 0 and nulls."""
    record, cell = found.record, found.cell
    shown = {
        "id": found.sample_id,
        "importance": None,
        "visits": 0,
        "signals": None,
        "noise_probability": None,
        "percentile": None,
        "set": UNSCORED,
        "reason": UNSCORED,
        "lineage": lookup.lineage,
        "updated_at": None,
    }
    if record is not None:
        shown |= _of_record(record)
    if cell is not None and lookup.version is not None:
        shown |= place(cell, lookup.version)
    return shown


def place(cell: np.void, version: SetVersion) -> dict[str, Any]:
    """Set, reason, noise probability and percentile of one cell of a version's column."""
    scored = sum(version.sizes.values())
    noise = float(cell["noise"])
    return {
        "set": SET_BY_CODE[int(cell["set"])],
        "reason": REASONS[int(cell["reason"])],
        "noise_probability": None if math.isnan(noise) else noise,
        "percentile": 100.0 * (scored - int(cell["rank"])) / scored,
    }


def membership(shown: dict[str, Any], version: int) -> dict[str, Any]:
    return {"set": shown["set"], "reason": shown["reason"], "version": version}


def lineage_of(state: State, dataset: Dataset) -> Lineage | None:
    return None if dataset.lineage is None else state.datasets.lineage(dataset, dataset.lineage)


def _of_record(record: np.void) -> dict[str, Any]:
    visits = int(record["visits"])
    mean = float(record["grad_norm_sum"]) / visits
    variance = max(0.0, float(record["grad_norm_sq_sum"]) / visits - mean**2)
    alignment = float(record["alignment_mean"])
    signals: dict[str, Any] = {
        "grad_norm": {"mean": mean, "std": math.sqrt(variance), "last": float(record["grad_norm_last"])},
        "loss": float(record["loss_mean"]),
        "el2n": float(record["el2n_mean"]),
        "margin": float(record["margin_mean"]),
        "confidence": float(record["confidence_mean"]),
        "variability": math.sqrt(max(0.0, float(record["confidence_m2"]) / visits)),
        "forgetting": int(record["forgetting"]),
        "alignment": None if math.isnan(alignment) else alignment,
    }
    updated = datetime.fromtimestamp(int(record["updated_at"]), UTC)
    return {
        "importance": mean,
        "visits": visits,
        "signals": signals,
        "updated_at": updated.isoformat().replace("+00:00", "Z"),
    }
