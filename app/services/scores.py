"""SCORE and membership, from what Redis alone knows."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec

from app.contracts import REASONS, SET_BY_CODE, UNSCORED, Dataset
from app.errors import NotFound, TooLarge
from app.store.scores import Lookup, Values
from app.store.state import State

MAX_IDS = 10_000
IDS_AT_A_TIME = 250
PARTS_UNDER_WAY = 4
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
    return present(state.scores.lookup(dataset, ids))


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
    (shown,) = scores_of(answer)
    return None if shown is None else _encode(shown)


async def scores_json(state: State, dataset_name: str, ids: Sequence[str]) -> bytes | None:
    """`{"scores": [...]}` as JSON; None where the dataset is unknown or the ids are too many.

    Every 250 ids are a look-up of their own, so that a long list keeps neither Redis nor the event loop from
    others; each of them sees one moment, the whole may see several.
    """
    if len(ids) > MAX_IDS:
        return None
    parts = [ids[start : start + IDS_AT_A_TIME] for start in range(0, len(ids), IDS_AT_A_TIME)] or [ids]
    waiting = iter(parts)
    under_way = deque(
        asyncio.create_task(state.lookups.ask(dataset_name, part))
        for part in islice(waiting, PARTS_UNDER_WAY)
    )
    written: list[bytes] = []
    try:
        while under_way:
            answer = await under_way.popleft()
            if answer is None:
                return None
            for part in islice(waiting, 1):  # Redis looks these up while those before are written
                under_way.append(asyncio.create_task(state.lookups.ask(dataset_name, part)))
            written.append(_encode(scores_of(answer))[1:-1])
    finally:
        for left in under_way:
            if not left.cancel() and not left.cancelled():
                left.exception()  # where it failed, the part before it has told
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


def scores_of(lookup: Lookup) -> list[Score | None]:
    """One for each id, None where it is unknown."""
    lineage, scored = lookup.lineage, lookup.scored
    return [
        None if values is None else _score(sample_id, values, lineage, scored)
        for sample_id, values in zip(lookup.ids, lookup.values(), strict=True)
    ]


def present(lookup: Lookup) -> list[dict[str, Any] | None]:
    """`scores_of` as dictionaries, to be part of something larger."""
    return [None if one is None else msgspec.to_builtins(one) for one in scores_of(lookup)]


def _score(sample_id: str, values: Values, lineage: str | None, scored: int) -> Score:
    """Args: scored: how many samples the current set version has."""
    (
        _, visits, _, turns, at, norm_sum, norm_std, norm_last,
        loss, el2n, margin, confidence, variability, alignment,
        _, set_code, reason, noise, rank, _,
    ) = values  # fmt: skip
    shown = Score(sample_id, lineage=lineage)
    if visits:
        shown.visits = visits
        shown.importance = importance = norm_sum / visits
        shown.signals = Signals(
            GradNorm(importance, norm_std, norm_last),
            loss,
            el2n,
            margin,
            confidence,
            variability,
            turns // 2,
            None if math.isnan(alignment) else alignment,
        )
        shown.updated_at = _rfc3339(at)
    if set_code:
        shown.set = SET_BY_CODE[set_code]
        shown.reason = REASONS[reason]
        shown.noise_probability = None if math.isnan(noise) else noise
        shown.percentile = 100.0 * (scored - rank) / scored
    return shown


@lru_cache(maxsize=4_096)
def _rfc3339(unix_seconds: int) -> str:
    """Kept: the samples of a job share few moments."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat().replace("+00:00", "Z")
