"""Storing behaviour logs and catalogues: checked row by row, written in batches, durable when answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from app.contracts import Dataset, now
from app.errors import NotFound
from app.ingest.event_rows import EventRow, ItemRow, check_texts, moment_of
from app.ingest.masking import Masked, mask_text
from app.ingest.report import IngestReport
from app.ingest.rows import MetaValue, RowError
from app.settings import Settings
from app.store.events import EVENTS, ITEMS
from app.store.pseudonyms import open_pseudonyms
from app.store.state import State

BATCH_ROWS = 10_000
"""Rows here are small, and a write costs the same for few and for many."""
TEXTS_REMEMBERED = 65_536
Row = TypeVar("Row", EventRow, ItemRow)


class _Masking:
    """Masks texts, where the dataset wants it, and counts what it masked."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._mask = lru_cache(TEXTS_REMEMBERED)(mask_text)
        self.counts: Counter[str] = Counter()

    def text(self, text: str) -> str:
        if not self._on:
            return text
        masked: Masked = self._mask(text)
        if masked.counts:
            self.counts.update(masked.counts)
        return masked.text

    def meta(self, meta: Mapping[str, MetaValue] | None) -> str | None:
        if meta is None:
            return None
        masked = {name: self.text(value) if isinstance(value, str) else value for name, value in meta.items()}
        return msgspec.json.encode(masked).decode()


class _Bulk(Generic[Row]):
    """One request's rows; `add` may be called many times, for bodies of any length."""

    batch_rows = BATCH_ROWS

    def __init__(self, state: State, settings: Settings, dataset: Dataset) -> None:
        self._state = state
        self._settings = settings
        self._dataset = dataset
        self._masking = _Masking(on=dataset.settings.mask_events)
        self.report = IngestReport()

    def add(self, rows: Iterable[Callable[[], Row]]) -> None:
        """Stores rows; the good ones are durable when this returns."""
        taken: list[Any] = []
        for decode in rows:
            index = self.report.received
            self.report.received += 1
            try:
                taken.append(self._taken(decode()))
            except RowError as error:
                self.report.reject(index, RowError(error.code, error.detail))  # an id might name a person
        for start in range(0, len(taken), self.batch_rows):
            batch = taken[start : start + self.batch_rows]
            with self._state.datasets.writing(self._dataset):
                if self._state.datasets.by_uid(self._dataset.uid) is None:
                    raise NotFound("unknown_dataset", f"dataset {self._dataset.name!r} was deleted meanwhile")
                self._store(batch)
        self.report.masked = self._masking.counts

    def _taken(self, row: Row) -> Any:
        raise NotImplementedError

    def _store(self, batch: Sequence[Any]) -> None:
        raise NotImplementedError


class EventIngest(_Bulk[EventRow]):
    """Events, and the texts of items that come with them, where the catalogue has none.

    Raises:
        Conflict: there is no key for the hashes of users, or not the one that they are hashed under.
    """

    def __init__(self, state: State, settings: Settings, dataset: Dataset) -> None:
        super().__init__(state, settings, dataset)
        self._now = now()
        self._pseudonyms = open_pseudonyms(settings)
        self._user = lru_cache(TEXTS_REMEMBERED)(self._pseudonyms.user)
        self._texts_seen: set[str] = set()
        state.events.check_key(dataset, self._pseudonyms)

    def _taken(self, row: EventRow) -> tuple[tuple[Any, ...], tuple[str, str] | None]:
        check_texts(row, self._settings.max_text_chars)
        behavior, at = moment_of(row, self._now)
        query = row.query.strip() if row.query else None
        said = [row.user, row.item, behavior, at, query, row.session, row.quantity, row.meta]
        event = (
            self._pseudonyms.digest("event", said),
            self._user(row.user),
            row.item,
            behavior.value,
            at,
            self._masking.text(query) if query else None,
            None if row.session is None else self._pseudonyms.session(row.user, row.session),
            row.quantity,
            self._masking.meta(row.meta),
        )
        if row.item_text is None or not row.item_text.strip() or row.item in self._texts_seen:
            return event, None
        if len(self._texts_seen) < TEXTS_REMEMBERED:
            self._texts_seen.add(row.item)
        return event, (row.item, self._masking.text(row.item_text.strip()))

    def _store(self, batch: Sequence[tuple[tuple[Any, ...], tuple[str, str] | None]]) -> None:
        # The texts first: an event that is stored is not sent again, and its text would be lost.
        texts: dict[str, str] = {}
        for _, named in batch:
            if named is not None:
                texts.setdefault(*named)
        if texts:
            found = [
                {"item": item, "text": text, "meta": None, "catalogue": False} for item, text in texts.items()
            ]
            self._state.events.items.insert(self._dataset, pa.Table.from_pylist(found, schema=ITEMS))
        events = {event[0]: event for event, _ in batch}
        columns = [
            pa.array(values, type=column.type)
            for values, column in zip(zip(*events.values(), strict=True), EVENTS, strict=True)
        ]
        rows = pa.Table.from_arrays(columns, schema=EVENTS)
        created = self._state.events.append(self._dataset, rows, self._pseudonyms)
        self.report.created += created
        self.report.unchanged += len(batch) - created


class ItemIngest(_Bulk[ItemRow]):
    """The catalogue; of several rows of one item the last one holds."""

    def _taken(self, row: ItemRow) -> dict[str, Any]:
        check_texts(row, self._settings.max_text_chars)
        text, meta = self._masking.text(row.text.strip()), self._masking.meta(row.meta)
        return {"item": row.item, "text": text, "meta": meta, "catalogue": True}

    def _store(self, batch: Sequence[dict[str, Any]]) -> None:
        table = self._state.events.items
        sent = {row["item"]: row for row in batch}
        # A filter of thousands of names takes longer than reading the names.
        held = table.read(self._dataset, ITEMS.names)
        known = {row["item"]: row for row in held.filter(_among(held["item"], list(sent))).to_pylist()}
        changed = [row for item, row in sent.items() if known.get(item) != row]
        if changed:
            table.upsert(self._dataset, pa.Table.from_pylist(changed, schema=ITEMS))
        updated = sum(row["item"] in known for row in changed)
        self.report.updated += updated
        self.report.created += len(changed) - updated
        self.report.unchanged += len(batch) - len(changed)


def _among(names: pa.ChunkedArray, wanted: Sequence[str]) -> pa.ChunkedArray:

    return pc.is_in(names, value_set=pa.array(wanted, pa.string()))
