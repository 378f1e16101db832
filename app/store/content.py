"""What tells one content of a sample from another: digests, the same from a row that comes in and one that is
stored, so that the ids can be made anew from the samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from app.store.ids import IdEntry

ENTRY_COLUMNS = (
    "ordinal",
    "generation",
    "id",
    "text",
    "text_pair",
    "label",
    "label_number",
    "group",
    "split",
    "weight",
    "meta",
)

_encode = msgspec.msgpack.Encoder().encode


def content_digest(text: str, text_pair: str | None, label: str | None, split: str) -> int:
    """Of what a score belongs to: it changes, and the score is void. Never 0, which means "not stored"."""
    return _digest((text, text_pair, label, split), 8) or 1


def attributes_digest(
    label_number: bool, group: str | None, weight: float | None, meta: Mapping[str, Any] | None
) -> int:
    """Of what changes a sample without touching its score."""
    # As JSON: whole numbers of any length, unlike msgpack.
    shown = "null" if meta is None else json.dumps(meta, sort_keys=True)
    return _digest((label_number, group, weight, shown), 4)


def entry_of(row: Mapping[str, Any]) -> IdEntry:
    """The id entry of a stored row (ENTRY_COLUMNS)."""
    meta = None if row["meta"] is None else json.loads(row["meta"])
    return IdEntry(
        ordinal=row["ordinal"],
        generation=row["generation"],
        content=content_digest(row["text"], row["text_pair"], row["label"], row["split"]),
        attributes=attributes_digest(row["label_number"], row["group"], row["weight"], meta),
    )


def _digest(parts: object, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(_encode(parts), digest_size=size).digest(), "little")
