"""Rows as clients send them: decoded one by one, so that a bad row is an error of its own."""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

from app.contracts import Dataset, Label, Task
from app.store.samples import StoredLabel

MetaValue = str | int | float | bool | None
_ID = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,128}")
FIELDS = ("id", "text", "text_pair", "label", "group", "split", "weight")
MAX_LABEL_CHARS = 256
MAX_NAME_CHARS = 1024
LABELS_REMEMBERED = 10_000


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
        raise row_error(str(error), _id_of(raw)) from error
    except UnicodeDecodeError as error:
        raise RowError("invalid_row", "the row is not UTF-8") from error
    except RecursionError as error:
        raise RowError("invalid_row", "the row is nested too deeply") from error


def known_labels(dataset: Dataset) -> dict[str, StoredLabel] | None:
    """The labels that the dataset has, by canonical text; None while they are open."""
    if dataset.labels is None:
        return None
    return {one.text: one for one in map(StoredLabel.of, dataset.labels)}


class LabelReader:
    """Reads labels as the dataset has them, where 1 and "1" are the same class."""

    def __init__(self, dataset: Dataset) -> None:
        self._graded = dataset.task is Task.RELEVANCE
        self._known = known_labels(dataset)
        self._read: dict[tuple[type, Label], StoredLabel] = {}

    def read(self, row: SampleRow) -> StoredLabel | None:
        """The row's label in canonical form.

        Raises:
            RowError: it is none that the dataset can have.
        """
        label = row.label
        if label is None:
            return None
        key = (type(label), label)  # 1 equals 1.0, and both are to be read
        found = self._read.get(key)
        if found is None:
            found = self._checked(row.id, label)
            if len(self._read) < LABELS_REMEMBERED:
                self._read[key] = found
        return found

    def _checked(self, sample_id: str, label: Label) -> StoredLabel:
        if self._graded:
            label = _grade(sample_id, label)
        elif isinstance(label, str) and not 0 < len(label) <= MAX_LABEL_CHARS:
            raise RowError("invalid_label", f"a label has 1 to {MAX_LABEL_CHARS} characters", sample_id)
        try:
            stored = StoredLabel.of(label)
        except ValueError as error:
            raise RowError("invalid_label", str(error), sample_id) from error
        if self._known is None:
            return stored
        if stored.text not in self._known:
            raise RowError(
                "unknown_label",
                f"label {label!r} is not one of the dataset's {len(self._known)} labels",
                sample_id,
            )
        return self._known[stored.text]


def check_row(row: SampleRow, max_text_chars: int) -> None:
    """What the types alone do not say. Raises RowError."""
    if not _ID.fullmatch(row.id):
        raise RowError(
            "invalid_id", "an id has 1 to 128 characters, without '/' and control characters", row.id[:128]
        )
    if not row.text or row.text.isspace():
        raise RowError("missing_field", "`text` is empty", row.id)
    _check_text("text", row.text, max_text_chars, row.id)
    if row.text_pair is not None:
        _check_text("text_pair", row.text_pair, max_text_chars, row.id)
    if row.group is not None and len(str(row.group)) > MAX_NAME_CHARS:
        raise RowError("invalid_row", f"`group` has more than {MAX_NAME_CHARS} characters", row.id)
    if row.weight is not None and not 0 <= row.weight < math.inf:
        raise RowError("invalid_row", "`weight` must be a finite number, 0 or more", row.id)


def _check_text(name: str, text: str, max_chars: int, sample_id: str) -> None:
    if len(text) > max_chars:
        detail = f"`{name}` has {len(text)} characters, the limit is {max_chars}"
        raise RowError("text_too_long", detail, sample_id)
    if "\0" in text:
        raise RowError("invalid_row", f"`{name}` holds a null character", sample_id)


def _grade(sample_id: str, label: Label) -> int | float:
    try:
        grade = float(label) if isinstance(label, str) else label
    except ValueError:
        grade = math.nan
    if not 0 <= grade < math.inf:
        raise RowError("invalid_label", f"a relevance grade is a number, 0 or more; not {label!r}", sample_id)
    return grade


def row_error(message: str, sample_id: str | None) -> RowError:
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
