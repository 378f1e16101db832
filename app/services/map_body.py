"""How a data map is sent: a JSON header, then its columns as arrays. docs/dashboard-api.md describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contracts import REASONS, SET_BY_CODE, Dataset, Split, Verdict
from app.store.review_log import VERDICT_CODES
from app.store.samples import StoredLabel

MEDIA_TYPE = "application/vnd.gradsift.map"
MAGIC = b"GSMP"
FORMAT = 1
PREFIX = 8
"""Magic and the header's length."""
ALIGNED = 8
STEPS = 65_535
VARIABILITY_AT_MOST = 0.5
"""The standard deviation of numbers between 0 and 1."""
NO_NOISE, NOISE_STEPS = 65_535, 65_534
NO_LABEL, LABELS_AT_MOST = 65_535, 65_535
_MEANING: dict[str, dict[str, Any]] = {
    "ordinal": {"dtype": "uint32"},
    "importance": {"dtype": "float32"},
    "confidence": {"dtype": "uint16", "scale": 1 / STEPS},
    "variability": {"dtype": "uint16", "scale": VARIABILITY_AT_MOST / STEPS},
    "noise_probability": {"dtype": "uint16", "scale": 1 / NOISE_STEPS, "missing": NO_NOISE},
    "label": {"dtype": "uint16", "missing": NO_LABEL},
    "set": {"dtype": "uint8"},
    "reason": {"dtype": "uint8"},
    "split": {"dtype": "uint8"},
    "reviewed": {"dtype": "uint8"},
}


@dataclass(frozen=True)
class Drawn:
    """Columns (n,) by ordinal, the labels that `label` counts through, and of how many samples they are."""

    columns: dict[str, NDArray[Any]]
    labels: list[StoredLabel]
    total: int


def map_body(drawn: Drawn, dataset: Dataset, version: int | None, lineage: str | None) -> bytes:
    """`GSMP`, the header's length as uint32, the header, then each column at its offset behind the header."""
    count = len(drawn.columns["ordinal"])
    offset, columns = 0, []
    for name, meaning in _MEANING.items():
        columns.append({"name": name, "offset": offset, **meaning})
        offset = _aligned(offset + count * np.dtype(meaning["dtype"]).itemsize)
    header = msgspec.json.encode(
        {
            "format": FORMAT,
            "dataset": dataset.name,
            "version": version,
            "lineage": lineage,
            "count": count,
            "total": drawn.total,
            "labels": [label.value() for label in drawn.labels],
            "sets": list(SET_BY_CODE.values()),
            "reasons": REASONS,
            "splits": list(Split),
            "verdicts": _verdicts(),
            "columns": columns,
        }
    )
    header = header.ljust(_aligned(PREFIX + len(header)) - PREFIX)
    start = PREFIX + len(header)
    body = bytearray(start + offset)
    body[:start] = MAGIC + len(header).to_bytes(4, "little") + header
    for column in columns:
        kind = np.dtype(column["dtype"]).newbyteorder("<")
        np.frombuffer(body, kind, count, start + column["offset"])[:] = drawn.columns[column["name"]]
    return bytes(body)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNED) * ALIGNED


def _verdicts() -> list[Verdict | None]:
    """By the code that `reviewed` has; 0: none is in force."""
    return [None, *sorted(VERDICT_CODES, key=VERDICT_CODES.__getitem__)]
