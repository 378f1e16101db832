"""Which column of a file holds which field of a sample, and samples from named cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from functools import cached_property
from typing import Any, Self

import msgspec

from app.errors import Invalid
from app.ingest.rows import FIELDS, RowError, SampleRow, row_error, row_from_json

_EMPTY = (None, "")


@dataclass(frozen=True)
class Columns:
    """of: field → column, for those of another name. meta: the columns kept beside; None: all others.
    numbered: ids are `row-000001` and so on, by the row's place in the file."""

    of: Mapping[str, str] = field(default_factory=dict)
    meta: tuple[str, ...] | None = None
    numbered: bool = False

    @classmethod
    def read(cls, pairs: Iterable[str], meta: Sequence[str] | None, *, numbered: bool) -> Self:
        """From `FIELD:COLUMN` texts.

        Raises:
            Invalid: one of them is not, or names a field twice or one that a sample does not have.
        """
        of: dict[str, str] = {}
        for pair in pairs:
            name, _, column = pair.partition(":")
            if not column or name not in FIELDS or name in of:
                raise Invalid(
                    "invalid_columns", f"{pair!r} is not FIELD:COLUMN with a field of a sample, each once"
                )
            of[name] = column
        return cls(of, None if meta is None else tuple(name for name in meta if name), numbered)

    @property
    def plain(self) -> bool:
        """Rows come as the contract has them."""
        return not self.of and self.meta is None and not self.numbered

    @cached_property
    def fields(self) -> dict[str, str]:
        """Field → column; without the id where rows are numbered."""
        return {name: self.of.get(name, name) for name in FIELDS if not (self.numbered and name == "id")}

    @cached_property
    def taken(self) -> frozenset[str]:
        return frozenset(self.fields.values())

    def missing(self, present: Iterable[str]) -> list[str]:
        """The columns that a file must have and does not."""
        needed = {*self.of.values(), *(self.meta or ())}
        needed |= {self.fields[name] for name in ("id", "text") if name in self.fields}
        return sorted(needed - set(present))

    def used(self, present: Iterable[str]) -> list[str]:
        """Those of the columns that rows are made of."""
        return [name for name in present if name in self.taken or self.meta is None or name in self.meta]


class SampleReader:
    """Rows of files as samples."""

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns or Columns()

    def missing(self, present: Sequence[str]) -> list[str]:
        return self.columns.missing(present)

    def used(self, present: Sequence[str]) -> list[str]:
        return self.columns.used(present)

    def from_json(self, raw: bytes, number: int) -> SampleRow:
        """Raises RowError."""
        if self.columns.plain:
            return row_from_json(raw)
        try:
            cells = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RowError("invalid_row", f"the row is no JSON object: {error}") from error
        return self.from_cells(cells, number)

    def from_cells(self, cells: Mapping[str, Any], number: int) -> SampleRow:
        """A sample from the named cells of a row; empty ones (null, "") are left out.

        Raises:
            RowError: it is not a SAMPLE of the contract.
        """
        found = ((name, cells.get(column)) for name, column in self.columns.fields.items())
        known: dict[str, Any] = {name: value for name, value in found if value not in _EMPTY}
        known.setdefault("text", "")
        if self.columns.numbered:
            known["id"] = f"row-{number:06d}"
        elif type(known.get("id")) is int:
            known["id"] = str(known["id"])
        try:
            meta = {name: flat(name, value) for name, value in self._others(cells) if value not in _EMPTY}
            if meta:
                known["meta"] = meta
            if isinstance(known.get("weight"), str):
                known["weight"] = float(known["weight"])
            return msgspec.convert(known, SampleRow)
        except ValueError as error:
            sample_id = known.get("id")
            raise row_error(str(error), sample_id[:128] if isinstance(sample_id, str) else None) from error

    def _others(self, cells: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self.columns.meta is not None:
            return [(name, cells.get(name)) for name in self.columns.meta]
        return [(name, value) for name, value in cells.items() if name not in self.columns.taken]


def flat(name: str, value: object) -> str | int | float | bool:
    """A cell as `meta` keeps it. Raises ValueError for what is not flat."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`{name}` is {value}, which JSON cannot say")
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise ValueError(f"`{name}` holds a {type(value).__name__}; meta is flat: text, numbers, true and false")
