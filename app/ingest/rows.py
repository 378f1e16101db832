"""Rows as clients send them: decoded one by one, so that a bad row is an error of its own."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from app.contracts import Dataset, Label, Task
from app.store.samples import StoredLabel

MetaValue = str | int | float | bool | None
_ID = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,128}")
_FIELDS = ("id", "text", "text_pair", "label", "group", "split", "weight")
MAX_LABEL_CHARS = 256
MAX_NAME_CHARS = 1024
csv.field_size_limit(2**31 - 1)  # a process-wide 128 KiB otherwise; records have a limit of their own


class SampleRow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    id: str
    text: str
    text_pair: str | None = None
    label: str | int | float | None = None
    group: str | int | None = None
    split: Literal["train", "validation", "test"] = "train"
    weight: float | None = None
    meta: dict[str, MetaValue] | None = None


class RowError(Exception):
    """One row that cannot be stored."""

    def __init__(self, code: str, detail: str, sample_id: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.sample_id = sample_id


_row_decoder = msgspec.json.Decoder(SampleRow)


def row_from_json(raw: bytes | msgspec.Raw) -> SampleRow:
    """Raises RowError for a row that is not a SAMPLE of the contract."""
    try:
        return _row_decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise _row_error(str(error), _id_of(raw)) from error
    except UnicodeDecodeError as error:
        raise RowError("invalid_row", "the row is not UTF-8") from error
    except RecursionError as error:
        raise RowError("invalid_row", "the row is nested too deeply") from error


def row_from_csv(header: Sequence[str], values: Sequence[str]) -> SampleRow:
    """A row of CSV: empty cells are left out, columns that a sample does not have become `meta`."""
    if len(values) != len(header):
        raise RowError("invalid_row", f"the row has {len(values)} cells, the header {len(header)}")
    cells = dict(zip(header, values, strict=True))
    known: dict[str, Any] = {name: cells[name] for name in _FIELDS if cells.get(name, "") != ""}
    known.setdefault("text", cells.get("text", ""))
    other = {name: value for name, value in cells.items() if name not in _FIELDS and value != ""}
    if other:
        known["meta"] = other
    try:
        # `weight` is the one number among the known columns; a label stays as it is written.
        if "weight" in known:
            known["weight"] = float(known["weight"])
        return msgspec.convert(known, SampleRow)
    except ValueError as error:
        raise _row_error(str(error), known.get("id")) from error


def csv_records(lines: Sequence[str]) -> list[list[str]]:
    """Cells of whole CSV records. Raises `csv.Error`."""
    return list(csv.reader(lines, strict=True))


def known_labels(dataset: Dataset) -> dict[str, StoredLabel] | None:
    """The labels that the dataset has, by canonical text; None while they are open."""
    if dataset.labels is None:
        return None
    return {one.text: one for one in map(StoredLabel.of, dataset.labels)}


def stored_label(task: Task, known: Mapping[str, StoredLabel] | None, row: SampleRow) -> StoredLabel | None:
    """The row's label in canonical form; as the dataset has it, where 1 and "1" are the same class.

    Raises:
        RowError: it is none that the dataset can have.
    """
    if row.label is None:
        return None
    label: Label = row.label
    if task is Task.RELEVANCE:
        label = _grade(row.id, label)
    elif isinstance(label, str) and not 0 < len(label) <= MAX_LABEL_CHARS:
        raise RowError("invalid_label", f"a label has 1 to {MAX_LABEL_CHARS} characters", row.id)
    try:
        stored = StoredLabel.of(label)
    except ValueError as error:
        raise RowError("invalid_label", str(error), row.id) from error
    if known is None:
        return stored
    if stored.text not in known:
        raise RowError(
            "unknown_label", f"label {label!r} is not one of the dataset's {len(known)} labels", row.id
        )
    return known[stored.text]


def check_row(row: SampleRow, max_text_chars: int) -> None:
    """What the types alone do not say. Raises RowError."""
    if not _ID.fullmatch(row.id):
        raise RowError(
            "invalid_id", "an id has 1 to 128 characters, without '/' and control characters", row.id[:128]
        )
    if not row.text.strip():
        raise RowError("missing_field", "`text` is empty", row.id)
    for name, text in (("text", row.text), ("text_pair", row.text_pair)):
        if text is not None and len(text) > max_text_chars:
            detail = f"`{name}` has {len(text)} characters, the limit is {max_text_chars}"
            raise RowError("text_too_long", detail, row.id)
    if row.group is not None and len(str(row.group)) > MAX_NAME_CHARS:
        raise RowError("invalid_row", f"`group` has more than {MAX_NAME_CHARS} characters", row.id)
    if row.weight is not None and not 0 <= row.weight < math.inf:
        raise RowError("invalid_row", "`weight` must be a finite number, 0 or more", row.id)


def _grade(sample_id: str, label: Label) -> int | float:
    try:
        grade = float(label) if isinstance(label, str) else label
    except ValueError:
        grade = math.nan
    if not 0 <= grade < math.inf:
        raise RowError("invalid_label", f"a relevance grade is a number, 0 or more; not {label!r}", sample_id)
    return grade


def _row_error(message: str, sample_id: str | None) -> RowError:
    code = "missing_field" if "missing required field" in message else "invalid_row"
    return RowError(code, message, sample_id)


def _id_of(raw: bytes | msgspec.Raw) -> str | None:
    """The id of a row that is wrong elsewhere."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    sample_id = found.get("id") if isinstance(found, dict) else None
    return sample_id[:128] if isinstance(sample_id, str) else None
