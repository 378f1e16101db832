"""Rows of any number from a stream: the next ones are checked while a batch is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from app.errors import GradSiftError, Malformed
from app.ingest.columns import SampleReader
from app.ingest.formats import RowFormat, open_rows
from app.ingest.rows import SampleRow
from app.ingest.streams import RowStream
from app.ingest.writing import Checked, Ingest, Outcome
from app.settings import Settings

E = TypeVar("E", bound=GradSiftError)


class IngestSession:
    """Context manager: feeds a stream's bytes to an `Ingest`, batch by batch.

    Memory is bounded by three batches: one that is stored, one that waits for it, one that fills.
    """

    def __init__(
        self, ingest: Ingest, stream: RowStream[SampleRow], *, batch_rows: int, batch_chars: int
    ) -> None:
        self._ingest = ingest
        self._stream = stream
        self._batch_rows = batch_rows
        self._batch_chars = batch_chars
        self._filling: list[Checked] = []
        self._chars = 0
        self._storing: Future[Outcome] | None = None
        self._began = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store")

    @classmethod
    def of(cls, form: RowFormat, ingest: Ingest, settings: Settings) -> Self:
        stream = open_rows(form, SampleReader(form.columns), settings)
        return cls(ingest, stream, batch_rows=settings.ingest_batch_rows, batch_chars=settings.max_body_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Returns when the batch under way is stored."""
        self._pool.shutdown(wait=True)
        self._stream.close()

    def accept(self, chunk: bytes) -> None:
        """Takes in the next bytes.

        Raises:
            Malformed, TooLarge: they cannot be read on; says what is stored.
            Unavailable: as `Ingest.add`.
        """
        self._take(self._stream.feed(chunk))

    def finish(self) -> None:
        """All that was accepted is durable when this returns. Raises as `accept` does."""
        self._take(self._stream.finish())
        self._store_filled()
        self._wait()

    def _take(self, rows: Iterable[Callable[[], SampleRow]]) -> None:
        try:
            for decode in rows:
                one = self._ingest.check(decode)
                if one is not None:
                    self._filling.append(one)
                    self._chars += len(one.row.text) + len(one.row.text_pair or "")
                    if len(self._filling) >= self._batch_rows or self._chars >= self._batch_chars:
                        self._store_filled()
        except Malformed as error:
            raise self.broken_off(error) from error

    def _store_filled(self) -> None:
        batch, self._filling, self._chars = self._filling, [], 0
        self._wait()
        if batch:
            self._began = True
            self._storing = self._pool.submit(self._ingest.store, batch)

    def _wait(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            self._ingest.note(storing.result())

    def broken_off(self, error: E) -> E:
        """The error, with what is stored: of a body that ends in its first batch nothing, else all before."""
        if not self._began:
            return error
        self._store_filled()
        self._wait()
        report = self._ingest.report
        detail = f"{error.detail}; of the first {report.received} rows {report.stored} are stored, none after"
        return type(error)(error.code, detail, remedy=error.remedy, errors=report.rejected)
