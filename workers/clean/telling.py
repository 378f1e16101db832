"""What a clean job's result and report say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from app.contracts.flags import SampleFlag, flags_of
from workers.clean.checks import first_html, first_oddity
from workers.clean.findings import SPLITS, Findings
from workers.clean.words import INVISIBLE

EXCERPT = 160
BEFORE = 40


def counts(table: pa.Table, found: Findings) -> dict[str, Any]:
    """How many samples have each flag, in all and by split."""
    splits = np.array(table["split"].to_pylist(), dtype=object)
    in_split = {name: splits == name for name in SPLITS}
    flags = {}
    for flag in SampleFlag:
        has = found.has(flag)
        by_split = {name: int((has & mask).sum()) for name, mask in in_split.items()}
        flags[flag.value] = {"samples": int(has.sum()), **by_split}
    near = found.of[SampleFlag.NEAR_DUPLICATE]
    theirs = found.labels[np.maximum(near, 0)]
    other_label = (near >= 0) & (found.labels >= 0) & (theirs >= 0) & (found.labels != theirs)
    return {
        "samples": len(table),
        "splits": {name: int(mask.sum()) for name, mask in in_split.items()},
        "flagged": int((found.bits != 0).sum()),
        "flags": flags,
        "conflicting_texts": len(np.unique(found.texts[found.has(SampleFlag.CONFLICTING_LABEL)])),
        "near_duplicates_with_another_label": int(other_label.sum()),
    }


def flag_table(table: pa.Table, found: Findings) -> pa.Table:
    """A row for each sample: its flags, as bits and by name, and of which other sample they tell."""
    names = [[flag.value for flag in flags_of(bits)] for bits in range(int(found.bits.max(initial=0)) + 1)]
    ids = table["id"].combine_chunks()
    columns: dict[str, Any] = {
        "ordinal": table["ordinal"],
        "generation": table["generation"],
        "id": ids,
        "split": table["split"],
        "bits": pa.array(found.bits),
        "flags": pa.array([names[bits] for bits in found.bits.tolist()], type=pa.list_(pa.string())),
    }
    for flag, of in found.of.items():
        columns[f"{flag.value}_of"] = ids.take(pa.array(of, mask=of < 0))
    return pa.table(columns)


def examples(table: pa.Table, found: Findings, count: int) -> dict[str, list[dict[str, Any]]]:
    """The first samples of each flag, with what of their text shows it."""
    return {
        flag.value: [_example(table, found, flag, int(i)) for i in np.flatnonzero(found.has(flag))[:count]]
        for flag in SampleFlag
    }


def _example(table: pa.Table, found: Findings, flag: SampleFlag, position: int) -> dict[str, Any]:
    of = int(found.of[flag][position]) if flag in found.of else -1
    return _shown(table, flag, position) | {"of": None if of < 0 else _shown(table, flag, of)}


def _shown(table: pa.Table, flag: SampleFlag, position: int) -> dict[str, Any]:
    row = table.slice(position, 1).to_pylist()[0]
    return {
        "id": row["id"],
        "ordinal": row["ordinal"],
        "generation": row["generation"],
        "split": row["split"],
        "label": row["label"],
        "group": row["group"],
        "text": _excerpt(row["text"], flag),
        "text_pair": None if row["text_pair"] is None else _excerpt(row["text_pair"], flag),
    }


def _excerpt(text: str, flag: SampleFlag) -> str:
    """The text from shortly before what is wrong with it; characters that nobody sees are written out."""
    where = {SampleFlag.HTML: first_html, SampleFlag.NOT_NORMALISED: first_oddity}.get(flag)
    start = max(0, ((where(text) if where else 0) or 0) - BEFORE)
    cut = text[start : start + EXCERPT]
    shown = INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", cut)
    return ("…" if start else "") + shown + ("…" if start + EXCERPT < len(text) else "")
