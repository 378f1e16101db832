"""The score record of one sample, and the shard blob that holds 1020 of them behind a ledger.

A blob is `[header][records]` in one Redis string. The header says which fenced worker wrote it and up to
which step of which run its records go, so one SET moves data and ledger together: a torn append-only file can
lose a whole write, never half of one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.store.keys import SHARD_RECORDS

RECORD = np.dtype(
    [
        ("generation", "<u4"),  # of the sample's content that the visits saw
        ("visits", "<u4"),  # t
        ("updated_at", "<u4"),  # unix seconds
        ("forgetting", "<u2"),  # changes from right to wrong
        ("last_correct", "u1"),
        ("spare", "u1"),
        ("grad_norm_sum", "<f8"),  # S_i(t) = grad_norm_sum / visits
        ("grad_norm_sq_sum", "<f8"),
        ("grad_norm_last", "<f4"),
        ("loss_mean", "<f4"),
        ("el2n_mean", "<f4"),
        ("margin_mean", "<f4"),
        ("confidence_mean", "<f4"),
        ("confidence_m2", "<f4"),  # Welford's sum of squared deviations
        ("alignment_mean", "<f4"),  # over `alignments` visits; NaN where there is none
        ("alignments", "<u4"),
    ]
)
Records = NDArray[np.void]

HEADER = struct.Struct("<2sHHHQIIQ")
MAGIC = b"GS"
FORMAT = 1


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


def empty_records(count: int) -> Records:
    records = np.zeros(count, dtype=RECORD)
    records["alignment_mean"] = np.nan
    return records


def merge_visits(records: Records, rows: NDArray[np.int64], visits: Visits, *, at: int) -> None:
    """Adds one visit to each of `records[rows]`, in place.

    A record of an older generation of the sample starts anew: its visits belong to other content. Means are
    Welford's running means (float32 storage, float64 arithmetic); the gradient norm keeps its float64 sums.

    Args:
        records: (m,) of dtype RECORD.
        rows: (n,) positions in `records`, no position twice.
        visits: the n visits.
        at: unix time in seconds.
    """
    chosen = records[rows]
    renewed = chosen["generation"] != visits.generations
    chosen[renewed] = empty_records(1)[0]
    chosen["generation"] = visits.generations
    forgotten = (chosen["visits"] > 0) & (chosen["last_correct"] == 1) & ~visits.correct
    chosen["forgetting"] += forgotten.astype(np.uint16)
    chosen["last_correct"] = visits.correct
    chosen["visits"] += 1
    chosen["updated_at"] = at
    chosen["grad_norm_sum"] += visits.grad_norm
    chosen["grad_norm_sq_sum"] += visits.grad_norm**2
    chosen["grad_norm_last"] = visits.grad_norm
    count = chosen["visits"].astype(np.float64)
    for field, values in (
        ("loss_mean", visits.loss),
        ("el2n_mean", visits.el2n),
        ("margin_mean", visits.margin),
    ):
        mean = chosen[field].astype(np.float64)
        chosen[field] = mean + (values - mean) / count
    mean = chosen["confidence_mean"].astype(np.float64)
    new_mean = mean + (visits.confidence - mean) / count
    chosen["confidence_m2"] += (visits.confidence - mean) * (visits.confidence - new_mean)
    chosen["confidence_mean"] = new_mean
    if visits.alignment is not None:
        _merge_alignment(chosen, visits.alignment)
    records[rows] = chosen


def _merge_alignment(chosen: Records, alignment: NDArray[np.float64]) -> None:
    """The mean over those visits that have an alignment."""
    given = ~np.isnan(alignment)
    chosen["alignments"] += given
    count = np.maximum(chosen["alignments"], 1).astype(np.float64)
    mean = np.nan_to_num(chosen["alignment_mean"].astype(np.float64))
    merged = mean + (alignment - mean) / count
    chosen["alignment_mean"] = np.where(given, merged, chosen["alignment_mean"])


def importance(records: Records) -> NDArray[np.float64]:
    """S_i(t), the mean over visits of the per-sample gradient norm, (n,); NaN for a sample without visits."""
    visits = records["visits"].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(records["grad_norm_sum"] / np.where(visits > 0, visits, np.nan), dtype=np.float64)


def pack_shard(ledger: Ledger, records: Records) -> bytes:
    header = HEADER.pack(
        MAGIC, FORMAT, RECORD.itemsize, 0, ledger.fence, ledger.run, ledger.step, len(records)
    )
    return header + records.tobytes()


def unpack_shard(blob: bytes) -> tuple[Ledger, Records]:
    """The ledger and a writable copy of the records.

    Raises:
        ValueError: the blob is not a shard of this format.
    """
    magic, version, record_size, _, fence, run, step, count = HEADER.unpack_from(blob)
    size = HEADER.size + count * RECORD.itemsize
    if (magic, version, record_size) != (MAGIC, FORMAT, RECORD.itemsize) or len(blob) != size:
        raise ValueError(f"not a score shard of format {FORMAT}: {blob[:8]!r}, {len(blob)} bytes")
    return Ledger(fence, run, step), np.frombuffer(blob, dtype=RECORD, offset=HEADER.size).copy()


def shard_of(ordinal: int) -> tuple[int, int]:
    """Shard number and position within it."""
    return divmod(ordinal, SHARD_RECORDS)
