"""The score record of one sample, and the shard blob that holds 1,259 of them behind a ledger.

A blob is `[header][records]` in one Redis string. The header says which fenced worker wrote it and up to
which step of which run its records go, so one SET moves data and ledger together: a torn append-only file can
lose a whole write, never half of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import Invalid
from app.store.layout import (
    HEADER,
    MAGIC,
    RECORD,
    SHARD_RECORDS,
    STATE_FORMAT,
    VISITS_AT_MOST,
    other_format,
)

Records = NDArray[np.void]
_MEANS = ("loss", "el2n", "margin", "confidence")
_FINITE = ("grad_norm_sum", "grad_norm_std", "grad_norm_last", *_MEANS, "variability")


class Ledger(NamedTuple):
    """Who wrote a blob last, and up to where: compared in this order."""

    fence: int
    run: int
    step: int


@dataclass(frozen=True)
class Visits:
    """What one step recorded: arrays of equal length (n,), one entry a sample, no ordinal twice."""

    ordinals: NDArray[np.int64]
    generations: NDArray[np.uint32]
    grad_norm: NDArray[np.float64]
    loss: NDArray[np.float64]
    el2n: NDArray[np.float64]
    margin: NDArray[np.float64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    alignment: NDArray[np.float64] | None = None  # None or NaN where no validation direction was taken


class Unrecordable(Invalid):
    """Visits that cannot be recorded; nothing of their step was. `positions` are indices into the visits."""

    def __init__(self, code: str, detail: str, positions: Sequence[int]) -> None:
        super().__init__(code, detail)
        self.positions = tuple(positions)

    def __reduce__(self) -> tuple[object, ...]:
        return (Unrecordable, (self.code, self.detail, self.positions))


def empty_records(count: int) -> Records:
    records = np.zeros(count, dtype=RECORD)
    records["alignment"] = np.nan
    return records


def merge_visits(
    records: Records, rows: NDArray[np.int64], visits: Visits, *, at: int | NDArray[np.uint32]
) -> None:
    """Adds one visit to each of `records[rows]`, in place.

    A record of an older generation of the sample starts anew: its visits belong to other content. Means and
    standard deviations are Welford's (float32 storage, float64 arithmetic): after n visits the rounding of a
    mean is below n · 2⁻²⁵ of the largest value. S_i, the mean gradient norm, is a float64 sum over `visits`.

    Args:
        records: (m,) of dtype RECORD.
        rows: (n,) positions in `records`, no position twice.
        visits: the n visits.
        at: unix time in seconds, one for all or (n,).

    Raises:
        Unrecordable: `non_finite_score` or `too_many_visits`; `records` are as they were.
    """
    chosen = records.take(rows)
    renewed = chosen["generation"] != visits.generations
    _whole(chosen)[renewed] = _whole(empty_records(1))
    _refuse(chosen["visits"] == VISITS_AT_MOST, "too_many_visits", f"have {VISITS_AT_MOST} visits, the most")
    chosen["generation"] = visits.generations
    chosen["turns"] += (chosen["turns"] % 2 == 1) != visits.correct
    chosen["visits"] += 1
    chosen["updated_at"] = at
    count = chosen["visits"].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        _merge_grad_norm(chosen, visits.grad_norm, count)
        _merge_means(chosen, visits, count)
        if visits.alignment is not None:
            _merge_alignment(chosen, visits.alignment)
    sound = np.isfinite(chosen["alignment"]) | (chosen["alignments"] == 0)
    for field in _FINITE:
        sound &= np.isfinite(chosen[field])
    _refuse(~sound, "non_finite_score", "have a signal that is infinite, not a number or too large to store")
    _whole(records)[rows] = _whole(chosen)


def _whole(records: Records) -> NDArray[np.void]:
    """The same records without fields: numpy copies them whole, twenty times faster than field by field."""
    return records.view(np.dtype((np.void, RECORD.itemsize)))


def _refuse(broken: NDArray[np.bool_], code: str, what: str) -> None:
    if broken.any():
        positions = np.flatnonzero(broken).tolist()
        raise Unrecordable(code, f"{len(positions)} visited samples {what}.", positions)


def _merge_grad_norm(chosen: Records, norm: NDArray[np.float64], count: NDArray[np.float64]) -> None:
    mean = chosen["grad_norm_sum"] / np.maximum(count - 1, 1)
    chosen["grad_norm_sum"] += norm
    new_mean = chosen["grad_norm_sum"] / count
    chosen["grad_norm_std"] = _merged_std(chosen["grad_norm_std"], norm, mean, new_mean, count)
    chosen["grad_norm_last"] = norm


def _merge_means(chosen: Records, visits: Visits, count: NDArray[np.float64]) -> None:
    for field in _MEANS:
        values = getattr(visits, field)
        mean = chosen[field].astype(np.float64)
        new_mean = mean + (values - mean) / count
        chosen[field] = new_mean
        if field == "confidence":
            chosen["variability"] = _merged_std(chosen["variability"], values, mean, new_mean, count)


def _merged_std(
    std: NDArray[np.float32],
    values: NDArray[np.float64],
    mean: NDArray[np.float64],
    new_mean: NDArray[np.float64],
    count: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The standard deviation (÷ n) with one more value, by Welford's recurrence."""
    squares = std.astype(np.float64) ** 2 * (count - 1) + (values - mean) * (values - new_mean)
    return np.sqrt(np.maximum(squares, 0.0) / count)


def _merge_alignment(chosen: Records, alignment: NDArray[np.float64]) -> None:
    """The mean over those visits that have an alignment."""
    given = ~np.isnan(alignment)
    chosen["alignments"] += given
    count = np.maximum(chosen["alignments"], 1).astype(np.float64)
    mean = np.nan_to_num(chosen["alignment"].astype(np.float64))
    merged = mean + (alignment - mean) / count
    chosen["alignment"] = np.where(given, merged, chosen["alignment"])


def importance(records: Records) -> NDArray[np.float64]:
    """S_i(t), the mean over visits of the per-sample gradient norm, (n,); NaN for a sample without visits."""
    visits = records["visits"].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(records["grad_norm_sum"] / np.where(visits > 0, visits, np.nan), dtype=np.float64)


def pack_shard(ledger: Ledger, records: Records) -> bytes:
    header = HEADER.pack(
        MAGIC, STATE_FORMAT, RECORD.itemsize, 0, ledger.fence, ledger.run, ledger.step, len(records)
    )
    return header + records.tobytes()


def unpack_shard(blob: bytes) -> tuple[Ledger, Records]:
    """The ledger and a writable copy of the records.

    Raises:
        Conflict: `state_format`, a shard that another version of the service wrote.
        ValueError: the blob is no shard, or not a whole one.
    """
    if blob[:2] != MAGIC or len(blob) < HEADER.size:
        raise ValueError(f"not a score shard: {blob[:8]!r}, {len(blob)} bytes")
    _, version, record_size, _, fence, run, step, count = HEADER.unpack_from(blob)
    if version != STATE_FORMAT:
        raise other_format(version)
    if record_size != RECORD.itemsize or len(blob) != HEADER.size + count * RECORD.itemsize:
        raise ValueError(f"not a whole score shard: {count} records of {record_size} in {len(blob)} bytes")
    return Ledger(fence, run, step), np.frombuffer(blob, dtype=RECORD, offset=HEADER.size).copy()


def shard_of(ordinal: int) -> tuple[int, int]:
    """Shard number and position within it."""
    return divmod(ordinal, SHARD_RECORDS)
