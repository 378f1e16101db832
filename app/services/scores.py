"""SCORE and membership, from what Redis alone knows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from app.contracts import REASONS, SET_BY_CODE, UNSCORED, Dataset, Lineage
from app.errors import NotFound, TooLarge
from app.store.records import Record
from app.store.scores import Found, Lookup
from app.store.state import State

MAX_IDS = 10_000
IDS_AT_A_TIME = 250
_encode = msgspec.json.Encoder().encode


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


async def score_json(state: State, dataset_name: str, sample_id: str) -> bytes | None:
    """`score` as JSON; None where the dataset or the sample is unknown."""
    answer = await state.lookups.ask(dataset_name, [sample_id])
    if answer is None:
        return None
    lookup = answer.read()
    found = lookup.found[0]
    return None if found is None else _encode(score_of(found, lookup))


async def scores_json(state: State, dataset_name: str, ids: Sequence[str]) -> bytes | None:
    """`{"scores": [...]}` as JSON; None where the dataset is unknown or the ids are too many.

    Every 250 ids are a look-up of their own, so that a long list keeps neither Redis nor the event loop from
    others; each of them sees one moment, the whole may see several.
    """
    if len(ids) > MAX_IDS:
        return None
    parts = [ids[start : start + IDS_AT_A_TIME] for start in range(0, len(ids), IDS_AT_A_TIME)] or [ids]
    written: list[bytes] = []
    under_way = asyncio.create_task(state.lookups.ask(dataset_name, parts[0]))
    try:
        for following in [*parts[1:], None]:
            asked = under_way
            if following is not None:  # Redis looks these up while those before are written
                under_way = asyncio.create_task(state.lookups.ask(dataset_name, following))
            answer = await asked
            if answer is None:
                return None
            lookup = answer.read()
            shown = [None if found is None else score_of(found, lookup) for found in lookup.found]
            written.append(_encode(shown)[1:-1])
    finally:
        if not under_way.cancel() and not under_way.cancelled():
            under_way.exception()  # where it failed, the part before it has told
    return b'{"scores":[' + b",".join(written) + b"]}"


class GradNorm(msgspec.Struct, gc=False):
    mean: float
    std: float
    last: float


class Signals(msgspec.Struct, gc=False):
    grad_norm: GradNorm
    loss: float
    el2n: float
    margin: float
    confidence: float
    variability: float
    forgetting: int
    alignment: float | None


class Score(msgspec.Struct, gc=False):
    """SCORE of the contract; what it is made with is that of a sample that has not been scored.

    Structs, because a look-up makes thousands: half the time of dictionaries, and no work for the garbage
    collector.
    """

    id: str
    importance: float | None = None
    visits: int = 0
    signals: Signals | None = None
    noise_probability: float | None = None
    percentile: float | None = None
    set: str = UNSCORED
    reason: str = UNSCORED
    lineage: str | None = None
    updated_at: str | None = None


def score_of(found: Found, lookup: Lookup) -> Score:
    shown = Score(found.sample_id, lineage=lookup.lineage)
    record, cell, version = found.record, found.cell, lookup.version
    if record is not None:
        shown.importance, shown.visits = record.importance, record.visits
        shown.signals = _signals(record)
        shown.updated_at = _rfc3339(record.updated_at)
    if cell is not None and version is not None:
        scored = sum(version.sizes.values())
        shown.set, shown.reason = SET_BY_CODE[cell.set], REASONS[cell.reason]
        shown.noise_probability = cell.noise_probability
        shown.percentile = 100.0 * (scored - cell.rank) / scored
    return shown


def present(found: Found, lookup: Lookup) -> dict[str, Any]:
    """SCORE as a dictionary, to be part of something larger."""
    shown: dict[str, Any] = msgspec.to_builtins(score_of(found, lookup))
    return shown


def membership(shown: dict[str, Any], version: int) -> dict[str, Any]:
    return {"set": shown["set"], "reason": shown["reason"], "version": version}


def lineage_of(state: State, dataset: Dataset) -> Lineage | None:
    return None if dataset.lineage is None else state.datasets.lineage(dataset, dataset.lineage)


def _signals(record: Record) -> Signals:
    return Signals(
        GradNorm(record.importance, record.grad_norm_std, record.grad_norm_last),
        loss=record.loss,
        el2n=record.el2n,
        margin=record.margin,
        confidence=record.confidence,
        variability=record.variability,
        forgetting=record.forgetting,
        alignment=None if math.isnan(record.alignment) else record.alignment,
    )


@lru_cache(maxsize=4_096)
def _rfc3339(unix_seconds: int) -> str:
    """Kept: the samples of a job share few moments."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat().replace("+00:00", "Z")
