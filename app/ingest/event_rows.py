"""Rows of behaviour logs and catalogues: names of columns and behaviours as teams write them, made ours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

from app.contracts.behaviors import Behavior
from app.errors import Invalid
from app.ingest.columns import flat
from app.ingest.event_times import microseconds
from app.ingest.rows import MAX_NAME_CHARS, MetaValue, RowError

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
HEADERS_REMEMBERED = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

BEHAVIOR_NAMES: Mapping[Behavior, tuple[str, ...]] = {
    Behavior.VIEW: (
        *("view", "views", "pv", "page_view", "pageview", "impression", "expose", "exposure", "show"),
        *("浏览", "曝光", "展示"),
    ),
    Behavior.CLICK: ("click", "clicks", "clk", "tap", "点击"),
    Behavior.CART: ("cart", "add_to_cart", "addtocart", "add_cart", "加购", "加入购物车"),
    Behavior.BUY: ("buy", "bought", "purchase", "order", "transaction", "pay", "购买", "下单", "支付"),
    Behavior.CANCEL: ("cancel", "cancelled", "canceled", "return", "refund", "取消", "退货", "退款"),
}
_BEHAVIORS = {name: behavior for behavior, names in BEHAVIOR_NAMES.items() for name in names}
EVENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "user": ("user_id", "userid", "uid", "customer_id", "visitor_id", "visitorid", "用户"),
    "item": ("item_id", "itemid", "product_id", "goods_id", "sku", "商品"),
    "behavior": ("behaviour", "behavior_type", "behaviour_type", "event_type", "event", "action", "行为"),
    "timestamp": ("time", "ts", "event_time", "datetime", "时间", "时间戳"),
    "query": ("search_query", "keyword", "查询"),
    "session": ("session_id", "user_session", "visit_id"),
    "item_text": ("text", "title", "item_title", "product_title", "item_name", "product_name"),
    "quantity": ("qty",),
    "meta": (),
}
ITEM_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "item": ("item_id", "itemid", "product_id", "goods_id", "sku", "id", "商品"),
    "text": ("item_text", "title", "item_title", "product_title", "item_name", "product_name", "name"),
    "meta": (),
}


class EventRow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    user: Name
    item: Name
    behavior: str
    timestamp: str | int | float
    query: str | None = None
    session: Name | None = None
    item_text: str | None = None
    quantity: float | None = None
    meta: dict[str, MetaValue] | None = None


class ItemRow(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    item: Name
    text: str
    meta: dict[str, MetaValue] | None = None


class Moment(NamedTuple):
    """What an event says, beside its texts, in our terms. `at` counts microseconds since 1970."""

    behavior: Behavior
    at: int


def moment_of(row: EventRow, now: datetime) -> Moment:
    """Raises RowError for a behaviour that nobody knows and a time that cannot be."""
    return Moment(_behavior(row.behavior), microseconds(row.timestamp, now))


def check_texts(row: EventRow | ItemRow, max_text_chars: int) -> None:
    """What the types alone do not say. Raises RowError."""
    names = ("user", "item", "session") if isinstance(row, EventRow) else ("item",)
    for name in names:
        value = getattr(row, name)
        if value is not None and (not value.strip() or _CONTROL.search(value)):
            raise RowError("invalid_row", f"`{name}` is blank or has control characters")
    texts = ("query", "item_text") if isinstance(row, EventRow) else ("text",)
    for name in texts:
        value = getattr(row, name)
        if value is not None and len(value) > max_text_chars:
            detail = f"`{name}` has {len(value)} characters, the limit is {max_text_chars}"
            raise RowError("text_too_long", detail)
    if isinstance(row, ItemRow) and not row.text.strip():
        raise RowError("missing_field", "`text` is empty")
    if isinstance(row, EventRow) and row.quantity is not None and not math.isfinite(row.quantity):
        raise RowError("invalid_row", "`quantity` must be a finite number")


def _behavior(written: str) -> Behavior:
    found = _BEHAVIORS.get(written) or _BEHAVIORS.get(re.sub(r"[\s-]+", "_", written.strip().lower()))
    if found is None:
        known = ", ".join(name for names in BEHAVIOR_NAMES.values() for name in names)
        raise RowError("unknown_behavior", f"behaviour {written[:64]!r} is none of {known}")
    return found


Row = TypeVar("Row", EventRow, ItemRow)


class Columns:
    """Whose names the columns of a client have.

    Args:
        known: our names, each with the others that mean the same.
        given: `FIELD:COLUMN` as the client said it; these win.

    Raises:
        Invalid: it is not FIELD:COLUMN, or there is no such field.
    """

    def __init__(self, known: Mapping[str, tuple[str, ...]], given: Sequence[str] = ()) -> None:
        self.fields = tuple(known)
        self._of = {name: field for field, names in known.items() for name in (field, *names)}
        self._given: dict[str, str] = {}
        for text in given:
            field, colon, column = text.partition(":")
            if not colon or not column or field not in known:
                detail = f"column {text!r} is not FIELD:COLUMN with a FIELD of {', '.join(known)}"
                raise Invalid(
                    "invalid_request", detail, errors=[{"pointer": "query/column", "detail": detail}]
                )
            self._given[column] = field

    def header(self, names: Sequence[str]) -> list[str | None]:
        """Our name for each column, None where it is none of ours.

        What the client named wins over our own name for a field, that over others for it, and of these an
        earlier column over a later one.
        """
        fields = [self._given.get(name) for name in names]
        taken = {field for field in fields if field is not None}
        for exact in (True, False):
            for at, name in enumerate(names):
                field = self._of.get(name.strip().lower())
                if fields[at] is None and field is not None and field not in taken:
                    if exact and field != name:
                        continue
                    fields[at] = field
                    taken.add(field)
        return fields


class Reader(Generic[Row]):
    """Reads rows of one kind under the names that one client uses."""

    def __init__(self, row: type[Row], required: Sequence[str], columns: Columns) -> None:
        self._row: type[Row] = row
        self._required = required
        self._columns = columns
        self._headers: dict[tuple[str, ...], list[str | None]] = {}

    def missing(self, present: Sequence[str]) -> list[str]:
        found = self._columns.header(present)
        return [name for name in self._required if name not in found]

    def used(self, present: Sequence[str]) -> list[str]:
        return list(present)

    def from_json(self, raw: bytes | msgspec.Raw, number: int = 0) -> Row:  # noqa: ARG002
        """Raises RowError for what is no row of this kind."""
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RowError("invalid_row", f"the row is not JSON: {error}") from error
        except RecursionError as error:
            raise RowError("invalid_row", "the row is nested too deeply") from error
        if not isinstance(found, dict):
            raise RowError("invalid_row", "the row is not a JSON object")
        header = self._header(tuple(found))
        unknown = [name for name, field in zip(found, header, strict=True) if field is None]
        if unknown:
            raise RowError("invalid_row", f"a row has no field {unknown[0][:64]!r}, or has it already")
        return self._converted({str(name): value for name, value in zip(header, found.values(), strict=True)})

    def from_cells(self, cells: Mapping[str, Any], number: int = 0) -> Row:  # noqa: ARG002
        """A row of a table: empty cells are left out, columns of other names become `meta`.

        Raises:
            RowError: it is no row of this kind.
        """
        fields: dict[str, Any] = {}
        meta: dict[str, MetaValue] = {}
        try:
            for (name, value), field in zip(cells.items(), self._header(tuple(cells)), strict=True):
                if value is None or value == "":
                    continue
                if field is None:
                    meta[name] = flat(name, value)
                else:
                    fields[field] = value if isinstance(value, str) else flat(name, value)
        except ValueError as error:
            raise RowError("invalid_row", str(error)) from error
        if meta:
            fields["meta"] = meta
        return self._converted(fields)

    def _header(self, names: tuple[str, ...]) -> list[str | None]:
        header = self._headers.get(names)
        if header is None:
            header = self._columns.header(names)
            if len(self._headers) < HEADERS_REMEMBERED:
                self._headers[names] = header
        return header

    def _converted(self, fields: dict[str, Any]) -> Row:
        for name in ("user", "item", "session"):  # numbers are as good as names
            if type(fields.get(name)) is int:
                fields[name] = str(fields[name])
        if isinstance(fields.get("quantity"), str):
            fields["quantity"] = _number(fields["quantity"])
        try:
            row: Row = msgspec.convert(fields, self._row)
        except ValueError as error:
            code = "missing_field" if "missing required field" in str(error) else "invalid_row"
            raise RowError(code, str(error)) from error
        return row


def event_reader(given: Sequence[str] = ()) -> Reader[EventRow]:
    return Reader(EventRow, ("user", "item", "behavior", "timestamp"), Columns(EVENT_COLUMNS, given))


def item_reader(given: Sequence[str] = ()) -> Reader[ItemRow]:
    return Reader(ItemRow, ("item", "text"), Columns(ITEM_COLUMNS, given))


def _number(written: str) -> float | str:
    try:
        return float(written)
    except ValueError:
        return written
