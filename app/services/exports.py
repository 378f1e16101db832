"""Export formats, each a generator of bytes over batches of rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

Rows = Iterable[list[dict[str, Any]]]
MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""As the OWASP page on CSV injection lists them, with their full-width forms."""
_CLIENTS_OWN = ("id", "text", "text_pair", "label", "new_label")
_PLAIN = [
    ("id", pa.string()),
    ("importance", pa.float64()),
    ("noise_probability", pa.float64()),
    ("reason", pa.string()),
]
_TEXT = [("text", pa.string()), ("text_pair", pa.string())]
_SCORE = [
    ("visits", pa.int64()),
    ("grad_norm_std", pa.float64()),
    ("grad_norm_last", pa.float64()),
    ("loss", pa.float64()),
    ("el2n", pa.float64()),
    ("margin", pa.float64()),
    ("confidence", pa.float64()),
    ("variability", pa.float64()),
    ("forgetting", pa.int64()),
    ("alignment", pa.float64()),
    ("percentile", pa.float64()),
    ("lineage", pa.string()),
    ("updated_at", pa.string()),
]


def export(
    rows: Rows, format_: str, include: frozenset[str], *, keep_formulas: bool = False
) -> Iterator[bytes]:
    """keep_formulas: of CSV: write texts as they are, though a spreadsheet would run some of them."""
    if format_ == "ndjson":
        return _ndjson(rows)
    schema = flat_schema(include)
    return _csv(rows, schema, keep_formulas) if format_ == "csv" else _parquet(rows, schema)


def export_plain(rows: Rows, format_: Literal["ndjson", "csv"], names: Sequence[str]) -> Iterator[bytes]:
    """Rows that have no score; `names` are the columns of a flat file."""
    if format_ == "ndjson":
        return _ndjson(rows)
    return _csv(rows, pa.schema([(name, pa.string()) for name in names]), keep_formulas=False)


def flat_schema(include: frozenset[str]) -> pa.Schema:
    """Columns of the flat formats; NDJSON keeps a score as an object."""
    columns = list(_PLAIN)
    columns += _TEXT if "text" in include else []
    columns += [("label", pa.string())] if "label" in include else []
    columns += _SCORE if "score" in include else []
    return pa.schema(columns)


def flatten(row: dict[str, Any]) -> dict[str, Any]:
    score = row.get("score") or {}
    signals = score.get("signals") or {}
    norm = signals.get("grad_norm") or {}
    flat = {**score, **signals, **row}
    flat |= {"grad_norm_std": norm.get("std"), "grad_norm_last": norm.get("last")}
    label = row.get("label")
    flat["label"] = None if label is None else str(label)
    return flat


def _ndjson(rows: Rows) -> Iterator[bytes]:
    for batch in rows:
        yield b"".join(msgspec.json.encode(row) + b"\n" for row in batch)


def _csv(rows: Rows, schema: pa.Schema, keep_formulas: bool) -> Iterator[bytes]:
    shown = flatten if keep_formulas else _without_formulas
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, schema.names, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for batch in rows:
        writer.writerows(shown(row) for row in batch)
        yield _drained(buffer)
    yield _drained(buffer)


def _without_formulas(row: dict[str, Any]) -> dict[str, Any]:
    """With a ' before texts that a spreadsheet would take for a formula; a label that is a number is none."""
    flat = flatten(row)
    for name in _CLIENTS_OWN:
        value = row.get(name)
        if isinstance(value, str) and value[:1] in FORMULA_STARTS:
            flat[name] = f"'{value}"
    return flat


def _drained(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


class _Sink(io.RawIOBase):
    """Collects what the Parquet writer writes until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _parquet(rows: Rows, schema: pa.Schema) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(sink, schema) as writer:
        for batch in rows:
            if batch:
                writer.write_table(pa.Table.from_pylist([flatten(row) for row in batch], schema=schema))
            yield sink.take()
    yield sink.take()
