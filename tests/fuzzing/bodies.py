"""Bodies of rows in formats that JSON Schema cannot describe: each row an event and a sample at once."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

_WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_IDS = st.text(st.sampled_from("abc019é .-"), min_size=1, max_size=6)
_COMMON = {
    "id": _IDS,
    "text": _WORDS,
    "label": st.sampled_from(["no", "yes"]),
    "user": _IDS,
    "item": _IDS,
    "behavior": st.sampled_from(["view", "click", "cart", "buy"]),
    "timestamp": st.integers(1_600_000_000, 1_700_000_000),
}
ROWS = st.lists(st.fixed_dictionaries(_COMMON), min_size=1, max_size=5)
_FIELDS = {"samples": ("id", "text", "label"), "events": ("user", "item", "behavior", "timestamp")}


def _ndjson(rows: list[dict[str, Any]], kind: str) -> bytes:
    return "\n".join(json.dumps({name: row[name] for name in _FIELDS[kind]}) for row in rows).encode()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(_COMMON))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


CSV = ROWS.map(_csv)
PARQUET = ROWS.map(_parquet)
NDJSON = st.builds(_ndjson, ROWS, st.sampled_from(list(_FIELDS)))
